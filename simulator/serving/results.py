"""What a trial gave: latencies, promises kept, energy, carbon and dollars, whole and by tier."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from kernels.serving_packs import DONE, REJECTED, Requests
from simulator.serving.histogram import SIZE, bins, quantile_s
from simulator.serving.load import Traffic
from simulator.serving.plan import ServePlan

KINDS = ("ttft", "tpot", "e2e")  # time to first token, time per output token after it, from arrival to the last token
QUANTILES = (0.5, 0.9, 0.99)
HOSTILE = "hostile"
_COUNTS = ("requests", "done", "rejected", "unfinished", "met", "tokens", "tokens_met", "prompt_tokens", "evictions", "cut")


@dataclass
class Counts:
    """Sums over requests by group (each tier, then hostile ones), shape (groups,); counted are those that come in the window.

    Attributes
    ----------
    bins : ndarray, shape (groups, kinds, bins)
        Latencies; what was refused is in none, what never ended in the last.
    used_s, work : ndarray
        Accelerator-seconds of all requests that are gone, counted or not; and of those `made`, `worked`, `inside_s`.
    """

    groups: int
    window_s: tuple[float, float]
    first_token_s: float
    per_token_s: float
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    all_gone: dict[str, float] = field(default_factory=lambda: {"requests": 0.0, "made": 0.0, "worked": 0.0, "inside_s": 0.0,
                                                                "stay_s": 0.0})

    def __post_init__(self) -> None:
        self.bins = np.zeros((self.groups, len(KINDS), SIZE), np.int64)
        self.used_s = np.zeros(self.groups)
        self.sums = {name: np.zeros(self.groups) for name in _COUNTS}

    def group_of(self, traffic: Traffic) -> np.ndarray:
        """Return the group of each request."""
        return np.where(traffic.hostile, self.groups - 1, traffic.tier)

    def refuse(self, traffic: Traffic) -> None:
        """Count requests that are refused before they reach the fleet."""
        counted = (traffic.arrival_s >= self.window_s[0]) & (traffic.arrival_s < self.window_s[1])
        group = self.group_of(traffic)[counted]
        for name in ("requests", "rejected"):
            self.sums[name] += np.bincount(group, minlength=self.groups)

    def add(self, q: Requests, traffic: Traffic, places: np.ndarray) -> None:
        """Count requests that are gone, or that are given up at the end."""
        group, state = self.group_of(traffic)[places], q.state[places]
        arrival_s, end_s = q.arrival_s[places], q.end_s[places]
        self.used_s += np.bincount(group, q.used_s[places], self.groups)
        done = state == DONE
        gone = {"requests": places.size, "made": q.made[places].sum(), "worked": q.worked[places].sum(),
                "inside_s": q.inside_s[places].sum(), "stay_s": (end_s - arrival_s)[done].sum()}
        for name, value in gone.items():
            self.all_gone[name] += float(value)
        counted = (arrival_s >= self.window_s[0]) & (arrival_s < self.window_s[1])
        self._count(q, places[counted], group[counted], traffic.cut[places[counted]])

    def _count(self, q: Requests, places: np.ndarray, group: np.ndarray, cut: np.ndarray) -> None:
        state, output = q.state[places], q.output[places]
        done, refused = state == DONE, state == REJECTED
        end_s = np.where(done, q.end_s[places], np.inf)
        first_s = np.where(np.isnan(q.first_s[places]), np.inf, q.first_s[places])
        times_s = {"ttft": first_s - q.arrival_s[places], "e2e": end_s - q.arrival_s[places]}
        with np.errstate(invalid="ignore", divide="ignore"):
            times_s["tpot"] = np.where(np.isfinite(end_s), (end_s - first_s) / (output - 1.0), np.inf)
        met = done & ~cut & (times_s["ttft"] <= self.first_token_s) & ((output <= 1.0) | (times_s["tpot"] <= self.per_token_s))
        weights = {"requests": np.ones(places.size), "done": done, "rejected": refused, "unfinished": ~done & ~refused,
                   "met": met, "tokens": np.where(done, output, 0.0), "tokens_met": np.where(met, output, 0.0),
                   "prompt_tokens": np.where(done, q.prompt[places], 0.0), "evictions": q.evictions[places], "cut": done & cut}
        for name, weight in weights.items():
            self.sums[name] += np.bincount(group, weight, self.groups)
        for kind, name in enumerate(KINDS):
            chosen = ~refused & (output > 1.0) if name == "tpot" else ~refused
            flat = np.bincount(group[chosen] * SIZE + bins(times_s[name][chosen]), minlength=self.groups * SIZE)
            self.bins[:, kind] += flat.reshape(self.groups, SIZE)


@dataclass(frozen=True)
class Meter:
    """Sums of the fleet up to a time."""

    time_s: float
    on_s: float  # accelerator-seconds that cost money
    busy_s: float  # accelerator-seconds in iterations
    dynamic_j: float  # accelerators, above idle
    batch_s: float  # requests in batches x time
    filled: float  # token-seconds in caches, and of what they hold
    room: float
    made: float
    worked: float
    sought: float
    found: float
    failures: float
    starts: float
    used_s: np.ndarray  # accelerator-seconds by group

    def less(self, before: Meter) -> Meter:
        """Return what came between two times."""
        return Meter(**{name: getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__})


def row_of(plan: ServePlan, counts: Counts, m: Meter) -> dict[str, float]:
    """Return the results of a trial, SI, names with units.

    What tiers use is their share of iterations; the rest of what the fleet costs is idle time. Parts sum to the totals.
    """
    names = [*(f"tier {tier.name} " for tier in plan.scenario.serving.tiers), f"{HOSTILE} "]
    if not counts.sums["requests"][-1]:
        names = names[:-1]
    energy_j = plan.power.on_w * m.on_s + plan.power.per_j * m.dynamic_j
    idle_s = max(0.0, m.on_s - m.busy_s)  # an iteration is booked when it has ended, which may be after the window began
    idle_j = plan.power.on_w * idle_s
    cost_usd = plan.usd_per_accelerator_s * m.on_s
    idle_usd = plan.usd_per_accelerator_s * idle_s
    row = {
        "time_s": m.time_s, **sums_of(counts, np.arange(counts.groups), m.time_s),
        "tokens_per_s": m.made / m.time_s, "prompt_tokens_per_s": m.worked / m.time_s,
        "energy_j": energy_j, "energy_idle_j": idle_j, "carbon_kg": plan.power.carbon_kg_per_j * energy_j,
        "cost_usd": cost_usd, "cost_idle_usd": idle_usd, "power_mean_w": energy_j / m.time_s,
        "utilisation": _ratio(m.busy_s, m.on_s), "batch_mean": _ratio(m.batch_s, m.busy_s),
        "cache_fill": _ratio(m.filled, m.room), "prefix_hit_rate": _ratio(m.found, m.sought),
        "accelerators_mean": m.on_s / m.time_s,
        "replicas_mean": m.on_s / m.time_s / plan.costs.weight[0] if plan.pools.max() == 0 else math.nan,
        "failures": m.failures, "starts": m.starts,
    }
    row.update(_each(row, energy_j, cost_usd, m.made))
    used_s = float(m.used_s.sum())
    for group, name in enumerate(names):
        share = _ratio(float(m.used_s[group]), used_s)
        found = sums_of(counts, np.array([group]), m.time_s)
        found["used_share"] = share
        found["energy_j"], found["cost_usd"] = share * (energy_j - idle_j), share * (cost_usd - idle_usd)
        # A request also pays for idle time, in proportion.
        found.update(_each(found, share * energy_j, share * cost_usd, found["tokens"]))
        found["carbon_per_query_kg"] = plan.power.carbon_kg_per_j * found["energy_per_query_j"]
        row.update({f"{name}{key}": value for key, value in found.items()})
    row["carbon_per_query_kg"] = plan.power.carbon_kg_per_j * row["energy_per_query_j"]
    row["carbon_per_token_kg"] = plan.power.carbon_kg_per_j * row["energy_per_token_j"]
    return row


def _each(found: dict[str, float], energy_j: float, cost_usd: float, tokens: float) -> dict[str, float]:
    return {"energy_per_query_j": _ratio(energy_j, found["done"]), "energy_per_token_j": _ratio(energy_j, tokens),
            "cost_per_query_usd": _ratio(cost_usd, found["done"]), "cost_per_token_usd": _ratio(cost_usd, tokens)}


def sums_of(counts: Counts, groups: np.ndarray, window_s: float) -> dict[str, float]:
    """Return counts, promises kept and latencies of some groups together."""
    sums = {name: float(values[groups].sum()) for name, values in counts.sums.items()}
    found = {**sums, "slo_share": _ratio(sums["met"], sums["requests"]), "goodput_per_s": sums["met"] / window_s,
             "goodput_tokens_per_s": sums["tokens_met"] / window_s}
    for kind, name in enumerate(KINDS):
        table = counts.bins[groups, kind].sum(axis=0)
        found.update({f"{name}_p{round(100 * q)}_s": quantile_s(table, q) for q in QUANTILES})
    return found


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan
