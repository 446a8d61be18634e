"""A model's life on the terminal and as a picture: stages, prices that cover them, and when variants are worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from simulator.planning.lifecycle import MONTH_S, RESOURCES, STAGES, Life, LifecycleStudy
from simulator.report.style import BLUE, GREEN, GREY, LINES, ORANGE, PINK, SERIES, Unit, digits, in_style, plain, unit_of
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUANTILES = (0.05, 0.5, 0.95)
_COLOURS = dict(zip(STAGES, (BLUE, PINK, GREEN, GREY, ORANGE), strict=True))


def lifecycle_view(study: LifecycleStudy) -> Group:
    """Return tables of the base by stage, of all ways beside each other, and of what variants save."""
    parts: list[RenderableType] = [_stages(study), Text(""), _ways(study)]
    if len(study.lives) > 1:
        parts += [Text(""), _worth(study)]
    parts += [Text(""), *(Text(line) for line in _fleets(study))]
    return Group(*parts)


def _unit(study: LifecycleStudy, resource: str) -> Unit:
    """Return the unit in which the base's total is read."""
    total = float(np.median(study.base.total(resource)))
    return unit_of(resource, total if np.isfinite(total) else 0.0)


def _range(values: np.ndarray, divisor: float) -> list[str]:
    return [digits(float(v) / divisor) for v in np.quantile(values, _QUANTILES)]


def _stages(study: LifecycleStudy) -> RenderableType:
    trials, base = study.scenario.monte_carlo.trials, study.base
    total = base.total("cost_usd")
    money, energy, carbon = (_unit(study, resource) for resource in RESOURCES)
    table = plain_table(f"{study.scenario.name}: {study.scenario.months} months, {trials:,} trials\n"
                        f"Base, by stage: {money.name}, P5, P50, P95; {energy.name} and {carbon.name}, P50",
                        "", "P5", "P50", "P95", "share", energy.name, "carbon", "")
    table.columns[0].no_wrap = True
    for stage in (*STAGES, "all"):
        usd, energy_j, carbon_kg = (base.total(r) if stage == "all" else base.stages[stage, r]
                                    for r in ("cost_usd", "energy_j", "carbon_kg"))
        if not usd.any():
            continue
        share = float((usd / total).mean())
        table.add_row(stage, *_range(usd, money.factor), f"{share:.1%}", digits(float(np.median(energy_j)) / energy.factor),
                      digits(float(np.median(carbon_kg)) / carbon.factor), "" if stage == "all" else "█" * round(12 * share))
    return table


def _ways(study: LifecycleStudy) -> RenderableType:
    money = _unit(study, "cost_usd")
    table = plain_table(f"Prices that cover all stages: P50, and P5 to P95; all in {money.name}", "", "all", "serving",
                        "user-month (USD)", "M tokens (USD)")
    for life in study.lives:
        prices = study.prices(life)
        serving = float((life.stages["serving", "cost_usd"] / life.total("cost_usd")).mean())
        table.add_row(life.way.name, digits(float(np.median(life.total("cost_usd"))) / money.factor), f"{serving:.0%}",
                      _with_range(prices["cost_per_user_month_usd"], 1.0), _with_range(prices["cost_per_token_usd"], 1e-6))
    table.columns[0].no_wrap = True
    return table


def _with_range(values: np.ndarray, divisor: float) -> str:
    low, middle, high = _range(values, divisor)
    return f"{middle} ({low}-{high})"


def _worth(study: LifecycleStudy) -> RenderableType:
    money, energy, _ = (_unit(study, resource) for resource in RESOURCES)
    table = plain_table(f"Variants less base, {money.name} (± 95 %, paired); months for the same requests", "", "cost",
                        energy.name, "pays from month", "rebound eats")
    for life in study.lives[1:]:
        halves = [_half(study, life, resource, unit.factor) for resource, unit in (("cost_usd", money), ("energy_j", energy))]
        table.add_row(life.way.name, *halves, even_words(study.break_even(life)), _eaten(study.eaten(life)))
    table.columns[0].no_wrap = True
    return table


def _half(study: LifecycleStudy, life: Life, resource: str, divisor: float) -> str:
    found = study.saved(life, resource)
    return f"{'+' if found.mean > 0 else ''}{digits(found.mean / divisor)} ± {digits(found.half / divisor, 2)}"


def even_words(months: np.ndarray) -> str:
    """Return the months of break-even in words."""
    found = np.sort(months)
    low, middle, high = (found[min(found.size - 1, int(q * found.size))] for q in _QUANTILES)
    if np.isinf(low):
        return "never"
    if high == 0.0:
        return "from the start"
    shown = ["never" if np.isinf(m) else f"{m:.0f}" for m in (low, middle, high)]
    return f"{shown[1]} ({shown[0]}-{shown[2]})"


def _eaten(share: np.ndarray) -> str:
    known = share[~np.isnan(share)]
    return f"{float(np.median(known)):.0%}" if known.size else "-"


def _fleets(study: LifecycleStudy) -> list[str]:
    """Return the fleets that were sized, and the largest that a life needs."""
    lines = []
    for life in study.lives:
        curve = study.curves[str(life.way.serving)]
        sized = ", ".join(f"{count:.0f} at {rate:,.3g}/s" for rate, count in zip(curve.rate_per_s, curve.replicas, strict=True))
        largest = np.median(curve.needed(study.drawn.peak * life.requests.max(axis=1) / MONTH_S))
        lines.append(f"{life.way.name}: replicas sized {sized}; {largest:,.0f} in the busiest month (P50)")
    return lines


def lifecycle_figure(study: LifecycleStudy) -> Figure:
    """Return the picture: dollars by stage of each way, and what each has cost by the end of each month."""
    from matplotlib import pyplot

    with in_style():
        figure, axes = pyplot.subplots(1, 2, figsize=(12.0, 4.6), layout="constrained")
        figure.suptitle(plain(study.scenario.name, 100), x=0.01, ha="left", fontweight="bold")
        _draw_stages(axes[0], study)
        _draw_months(axes[1], study)
        return figure


def _draw_stages(ax: Axes, study: LifecycleStudy) -> None:
    at, unit = np.arange(len(study.lives))[::-1], _unit(study, "cost_usd")
    left = np.zeros(at.size)
    for stage in STAGES:
        values = np.array([life.stages[stage, "cost_usd"].mean() for life in study.lives]) / unit.factor
        if values.any():
            ax.barh(at, values, left=left, height=0.6, color=_COLOURS[stage], label=stage)
            left = left + values
    low, high = (np.array([np.quantile(life.total("cost_usd"), q) for life in study.lives]) / unit.factor for q in (0.05, 0.95))
    reach = np.maximum(0.0, [left - low, high - left])
    ax.errorbar(left, at, xerr=reach, fmt="none", ecolor="#222222", elinewidth=1.0, capsize=3)
    ax.set_yticks(at, [plain(life.way.name) for life in study.lives])
    ax.set(title="Whole life by stage (mean; P5 to P95)", xlabel=unit.name)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5)


def _draw_months(ax: Axes, study: LifecycleStudy) -> None:
    months, unit = np.arange(study.scenario.months + 1), _unit(study, "cost_usd")
    for i, life in enumerate(study.lives):
        sums = np.cumsum(np.concatenate([life.before_usd()[:, None], life.same_usd], axis=1), axis=1) / unit.factor
        ax.plot(months, np.median(sums, axis=0), color=SERIES[i % len(SERIES)], linestyle=LINES[i % len(LINES)],
                label=plain(life.way.name))
    ax.set(title="Spent so far, for the same requests (P50)", xlabel="months of serving", ylabel=unit.name, ylim=(0.0, None))
    ax.grid(visible=True)
    ax.legend(loc="best")
