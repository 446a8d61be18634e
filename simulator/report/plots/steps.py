"""One training step: its schedule, its operators under the roofline, its power, and the same on other numbers of accelerators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels.packs import Device, Layout
from kernels.roofline import attention_time_s, gemm_time_s
from kernels.transformer import score_dim, seen_keys
from simulator.errors import UserError
from simulator.performance import StepEstimate, longest
from simulator.performance.estimate import Packs, layout_pack, packs, price
from simulator.performance.hardware import network, peak_flops_per_s
from simulator.report.style import BLUE, GREY, INK, LINES, RED, SERIES, digits, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.montecarlo import Study
    from simulator.scenario import Scenario

_TIMES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the accelerators
_MARKS = "osD^vPX*"


class Operator(NamedTuple):
    """An operator of one layer, forward, on one accelerator: arithmetic, traffic of main memory, time by the model."""

    name: str
    flops: float
    traffic_bytes: float
    time_s: float

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.traffic_bytes

    @property
    def flops_per_s(self) -> float:
        """Rate that it reaches."""
        return self.flops / self.time_s


class Size(NamedTuple):
    """A cluster of another size with the same batch: accelerators, seconds of a step, tokens a second."""

    accelerators: int
    step_s: float
    tokens_per_s: float


def central_scenario(study: Study) -> Scenario:
    """Return the scenario of a study with central values in place of what is not known."""
    return study.scenario.central()


def _found(study: Study) -> tuple[Scenario, StepEstimate, Packs, Layout]:
    """Return the central scenario, the estimate of the main stretch of its batch schedule, and what it was priced with."""
    scenario, main = central_scenario(study), longest(study.estimates)
    pack = layout_pack(main.layout, scenario.cluster.accelerators, scenario.model.layers)
    return scenario, main, packs(scenario, main.batch), pack


def operators(study: Study) -> list[Operator]:
    """Return matrix products and fused attention of one layer (and the head), forward, for one microbatch on one accelerator.

    Shapes are those that `kernels.layer` prices; traffic is that of the operands and the result, each once.
    """
    _, _, (a, d, _, r), lay = _found(study)
    found = [_product(name, batch, m, n, k, d, r.element_bytes) for name, batch, m, n, k in _shapes(study)]
    if r.flash > 0.0:
        heads, queries, dim = a.heads / lay.tensor, r.sequence / lay.context, score_dim(a)
        keys = seen_keys(a, r.sequence)
        flops = 4.0 * lay.microbatch * queries * keys * heads * dim
        kept = a.key_value_heads or a.heads
        traffic = 2.0 * r.element_bytes * lay.microbatch * queries * (heads + max(kept / lay.tensor, 1.0)) * dim
        time_s = attention_time_s(lay.microbatch, queries, keys, 1.0, heads, dim, d)
        found.append(Operator("attention", flops, traffic, time_s))
    return found


def _shapes(study: Study) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield name, number, and m, n, k of the products of a layer, and of the head."""
    _, _, (a, _, _, r), lay = _found(study)
    tokens, heads = lay.microbatch * r.sequence / lay.context, a.heads / lay.tensor
    value_dim = a.mla_value_dim if a.mla > 0.0 else a.head_dim
    if a.mla > 0.0:
        query = a.mla_query_rank or heads * (a.mla_nope_dim + a.mla_rope_dim)
        yield "compress query, key, value", 1.0, tokens, query + a.mla_key_value_rank + a.mla_rope_dim, a.hidden
    else:
        yield "query, key, value", 1.0, tokens, (heads + 2.0 * max(a.key_value_heads / lay.tensor, 1.0)) * a.head_dim, a.hidden
    yield "attention output", 1.0, tokens, a.hidden, heads * value_dim
    gates = a.ffn_matrices - 1.0
    if a.moe_layers < a.layers:
        yield "feed-forward up", 1.0, tokens, gates * a.ffn_hidden / lay.tensor, a.hidden
        yield "feed-forward down", 1.0, tokens, a.hidden, a.ffn_hidden / lay.tensor
    if a.moe_layers > 0.0:
        rows = tokens / lay.tensor * a.experts_per_token * lay.expert / a.experts * r.expert_load
        yield "experts up", a.experts / lay.expert, rows, gates * a.expert_hidden, a.hidden
        yield "experts down", a.experts / lay.expert, rows, a.hidden, a.expert_hidden
    yield "head", 1.0, tokens, a.vocabulary / lay.tensor, a.hidden


def _product(name: str, batch: float, m: float, n: float, k: float, d: Device, element_bytes: float) -> Operator:
    rate = d.gemm_flops_per_s_16 if name == "head" else d.gemm_flops_per_s
    return Operator(name, 2.0 * batch * m * n * k, element_bytes * batch * (m * k + k * n + m * n),
                    gemm_time_s(batch, m, n, k, rate, element_bytes, element_bytes, d))


@styled(size=(5.3, 3.9))
def roofline(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw the operators of a layer under the roofs of the accelerator: its data sheet's, and what software reaches.

    After Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.

    Parameters
    ----------
    study : Study
    ax : Axes, optional
    """
    assert ax is not None
    scenario, _, (_, d, _, _), _ = _found(study)
    accelerator, found = scenario.cluster.accelerator, operators(study)
    peak = peak_flops_per_s(accelerator, scenario.training.precision)
    across = np.geomspace(10.0, max(3e4, 2.0 * max(o.intensity for o in found)), 200)
    for rate, bandwidth, style, label in (
            (peak, accelerator.memory_bandwidth_bytes_per_s, "-", "data sheet"),
            (d.gemm_flops_per_s, d.memory_bytes_per_s, "--", "reached by large products")):
        ax.plot(across, np.minimum(rate, across * bandwidth) / 1e12, color=INK if style == "-" else GREY, linestyle=style,
                linewidth=1.4, label=label)
    for i, o in enumerate(found):
        ax.plot([o.intensity], [o.flops_per_s / 1e12], linestyle="none", marker=_MARKS[i % len(_MARKS)], markersize=8,
                color=SERIES[i % len(SERIES)], label=o.name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    lowest = min(o.flops_per_s for o in found) / 1e12
    ax.set_ylim(min(0.3 * peak / 1e12, 0.6 * lowest), 1.5 * peak / 1e12)
    ax.set_xlim(across[0], across[-1])
    ax.grid(visible=True, which="major")
    ax.set_xlabel("arithmetic intensity (FLOPs a byte)")
    ax.set_ylabel("rate of one accelerator (TFLOP/s)")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if f"{value:.0e}"[0] in "25" else "")
    ax.legend(loc="upper left", fontsize=8, bbox_to_anchor=(0.0, 0.93))
    ax.set_title(f"Operators of a layer, {scenario.training.precision} on {plain(accelerator.name, 30)}")
    return ax


@styled(size=(11.0, 4.5))
def gantt(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw the schedule of a step, a row a pipeline stage; of a long step its beginning.

    Parameters
    ----------
    study : Study
    ax : Axes, optional
    """
    from simulator.performance.schedule import step_schedule
    from simulator.report.gantt import draw_window, legend_patches
    from simulator.report.lanes import headline, lanes, left_out, windows

    assert ax is not None
    scenario, main, *_ = _found(study)
    shown = lanes(step_schedule(scenario, main), main)
    drawn = windows(shown)
    start, end = drawn[0]
    draw_window(ax, shown, start, end, end - start)
    stages = shown.schedule.stages
    every = max(1, -(-stages // 16))
    ax.set_yticks(range(0, stages, every), [str(i + 1) for i in range(0, stages, every)])
    ax.set_ylim(stages - 0.5, -0.5)
    ax.set_ylabel("pipeline stage")
    rest = left_out(shown, drawn)
    ax.set_xlabel("time (s)" + (f"; {rest}; the end is not shown" if rest else ""), loc="left")
    ax.set_title(headline(shown, main))
    patches = legend_patches(shown, end - start)
    ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(patches), handlelength=1.2,
              columnspacing=1.4, fontsize=8.5)
    return ax


@styled(size=(9.0, 3.6))
def power(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw the power of the cluster during a step.

    Parameters
    ----------
    study : Study
    ax : Axes, optional

    Raises
    ------
    UserError
        The catalog lacks the power of the accelerator.
    """
    from simulator.performance.waveform import describe, step_waveform
    from simulator.report.waveform import draw_power

    assert ax is not None
    scenario, main, *_ = _found(study)
    waveform = step_waveform(scenario, main)
    draw_power(ax, waveform.cluster, describe(waveform).cluster, f"{waveform.accelerators:,} accelerators, hosts and network")
    ax.set_xlabel("time (s)")
    return ax


@styled(size=(5.3, 3.6))
def power_spectrum(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw the spectrum of the cluster's power during steps; parameters and errors as for `power`."""
    from simulator.performance.waveform import describe, step_waveform
    from simulator.report.waveform import draw_spectrum

    assert ax is not None
    scenario, main, *_ = _found(study)
    waveform = step_waveform(scenario, main)
    draw_spectrum(ax, waveform.cluster, describe(waveform).cluster)
    return ax


def sizes(study: Study) -> list[Size]:
    """Return the step at other numbers of data-parallel replicas, batch and all else unchanged.

    A number that does not fit in memory, or leaves a replica without a sequence, is left out. Steps alone, without
    failures: of a run at another size see `clustercost sweep FILE --over cluster.accelerators=...`.
    """
    scenario, main, (a, d, _, r), lay = _found(study)
    accelerator, found = scenario.cluster.accelerator, []
    for times in _TIMES:
        data = lay.data * times
        count = round(scenario.cluster.accelerators * times)
        if data < 1.0 or data != int(data) or (times > 1.0 and r.sequences < data * lay.microbatch) or (
                times < 1.0 and (lay.expert > data * lay.tensor * lay.context or lay.shard)):
            continue
        step, memory = price(Packs(a, d, network(accelerator, scenario.cluster.fabric, count), r), lay._replace(data=data))
        if memory.total <= accelerator.memory_bytes:
            step_s = step.time_s * main.straggler_factor
            found.append(Size(count, step_s, main.batch.tokens_per_step / step_s))
    return found


@styled(size=(5.3, 3.6))
def scaling(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw tokens a second against accelerators, with more or fewer replicas of the same layout and the same batch.

    Parameters
    ----------
    study : Study
    ax : Axes, optional

    Raises
    ------
    UserError
        No number of replicas fits in memory.
    """
    assert ax is not None
    found, here = sizes(study), study.scenario.cluster.accelerators
    if not found:
        raise UserError("no number of replicas fits in memory; allowed: another layout")
    x, y = np.array([s.accelerators for s in found]), np.array([s.tokens_per_s for s in found]) / 1e6
    now = next((s for s in found if s.accelerators == here), found[0])
    ideal = now.tokens_per_s / 1e6 * x / now.accelerators
    ax.plot(x, ideal, color=GREY, linestyle=LINES[1], label="in proportion")
    ax.plot(x, y, color=BLUE, marker="o", label="by the step model")
    ax.plot([now.accelerators], [now.tokens_per_s / 1e6], "s", color=RED, markersize=8, label="this scenario")
    for size, rate in zip(found, y, strict=True):
        share = size.tokens_per_s / size.accelerators / (now.tokens_per_s / now.accelerators)
        ax.annotate(f"{100 * share:.0f} %", (size.accelerators, rate), xytext=(6, -11), textcoords="offset points", fontsize=8.5)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.yaxis.set_major_formatter(lambda value, _: digits(value, 2))
    ax.yaxis.set_minor_formatter(lambda value, _: digits(value, 2) if f"{value:.0e}"[0] in "25" else "")
    ax.set_xticks(x)
    ax.margins(x=0.12)
    ax.grid(visible=True)
    ax.legend(loc="upper left", fontsize=8.5)
    ax.set_xlabel("accelerators")
    ax.set_ylabel("million tokens a second")
    ax.set_title("More replicas, the same batch")
    return ax


__all__ = ["Operator", "Size", "gantt", "operators", "power", "power_spectrum", "roofline", "scaling", "sizes"]
