"""Catalog accelerators and fabrics as the kernels take them; says what is missing."""

from __future__ import annotations

from kernels.packs import Device, Network
from kernels.power import PhasePower, PowerModel, phase_powers
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, FabricRecord, GenerationRecord, SoftwareEra
from simulator.errors import UserError
from simulator.fields import file_key

# 16-bit formats stand in for one another where the hardware has only one of them (V100: fp16, TPU: bf16).
_SIXTEEN_BIT = {"bf16": "fp16", "fp16": "bf16"}
_TORUS = {"switch": 0.0, "torus-2d": 2.0, "torus-3d": 3.0}


def generation(accelerator: AcceleratorRecord) -> GenerationRecord:
    """Return the accelerator's generation."""
    record = catalog.load("generations", accelerator.generation)
    assert isinstance(record, GenerationRecord)
    return record


def needed(accelerator: AcceleratorRecord, field: str) -> float:
    """Return a value the catalog may lack; raise UserError that says so and how to give it."""
    value = getattr(accelerator, field)
    if value is None:
        key = file_key(field)
        raise UserError(
            f"cluster.accelerator: no published {key!r} of {accelerator.name} is in the catalog, and this run needs it; "
            f"give it inline: accelerator: {{preset: ..., {key}: ...}}"
        )
    return float(value)


def peak_flops_per_s(accelerator: AcceleratorRecord, precision: str) -> float:
    """Return the dense peak at a precision, FLOP/s; raise UserError where the hardware has none."""
    peaks = accelerator.peak_flops
    name = precision if precision in peaks else _SIXTEEN_BIT.get(precision, precision)
    if name not in peaks:
        raise UserError(
            f"training.precision: {accelerator.name} has no {precision} rate in the catalog; allowed: {', '.join(peaks)}"
        )
    return peaks[name]


def clock_share(accelerator: AcceleratorRecord, g: GenerationRecord) -> float:
    """Return the clock at which large products run, over that of the generation's reference accelerator.

    Power above idle grows with clock^exponent (power_model.md, item 7), and in proportion to the peak. Products that would
    draw more than the limit lower the clock until they draw just that, so a 500 W H100 is slower than a 700 W one.
    """
    reference = catalog.load("accelerators", g.reference)
    if not (knows_power(accelerator) and knows_power(reference)):
        return 1.0
    peak = peak_flops_per_s(accelerator, "bf16") / peak_flops_per_s(reference, "bf16")
    above = (needed(accelerator, "tdp_w") - needed(accelerator, "idle_power_w")) / (
        needed(reference, "tdp_w") - needed(reference, "idle_power_w"))
    drawn = max(1.0, g.gemm_demand)
    own, its = (min(1.0, share / drawn) ** (1.0 / g.clock_exponent) for share in (above / peak, 1.0))
    return float(own / its)


def device(accelerator: AcceleratorRecord, precision: str, era: SoftwareEra, g: GenerationRecord | None = None) -> Device:
    """Return the rates one accelerator reaches in a precision, with the software of an era."""
    g = g or generation(accelerator)
    peak_16 = peak_flops_per_s(accelerator, precision if precision in ("fp32", "tf32") else "bf16")
    clock = clock_share(accelerator, g)
    narrow = era.fp8_efficiency if precision in ("fp8", "fp4") else 1.0
    return Device(
        gemm_flops_per_s=peak_flops_per_s(accelerator, precision) * era.gemm_efficiency * narrow * clock,
        gemm_flops_per_s_16=peak_16 * era.gemm_efficiency * clock,
        attention_flops_per_s=peak_16 * era.attention_efficiency * clock,
        memory_bytes_per_s=accelerator.memory_bandwidth_bytes_per_s * era.memory_efficiency,
        launch_latency_s=g.launch_latency_s,
        host_latency_s=g.host_latency_s,
        fill_depth=g.fill_depth,
        softmax_depth=g.softmax_depth,
        processors=float(g.processors),
        overlap_cost=g.overlap_cost,
        host_link_bytes_per_s=accelerator.host_link_bandwidth_bytes_per_s or 1.0,
    )


def network(accelerator: AcceleratorRecord, fabric: FabricRecord, accelerators: int) -> Network:
    """Return the network levels as collectives reach them; what one accelerator never uses may be unknown."""
    g = generation(accelerator)
    single = accelerators <= 1
    inside = accelerators <= accelerator.scale_up_domain
    up = 1.0 if single else needed(accelerator, "scale_up_bandwidth_bytes_per_s")
    nic = 1.0 if inside else needed(accelerator, "nic_bandwidth_bytes_per_s")
    per_node = accelerator.accelerators_per_node
    return Network(
        domain=float(accelerator.scale_up_domain),
        scale_up_bytes_per_s=up * g.scale_up_efficiency,
        scale_up_latency_s=g.scale_up_latency_s,
        torus=_TORUS[accelerator.scale_up_topology],
        scale_up_reduces=float(accelerator.scale_up_reduces),
        nic_bytes_per_s=nic * fabric.efficiency,
        nic_latency_s=fabric.latency_s,
        nic_reduces=float(fabric.reduces),
        rails=float(fabric.rails),
        leaf=float(fabric.leaf_nodes * per_node),
        leaf_oversubscription=fabric.leaf_oversubscription,
        pod=float(fabric.pod_nodes * per_node),
        oversubscription=fabric.oversubscription,
    )


def knows_power(accelerator: AcceleratorRecord) -> bool:
    """Return whether the catalog has the accelerator's power at idle and at its limit."""
    return accelerator.tdp_w is not None and accelerator.idle_power_w is not None


def phase_power(accelerator: AcceleratorRecord) -> PhasePower:
    """Return watts of one accelerator in every phase."""
    g = generation(accelerator)
    return PhasePower(*phase_powers(PowerModel(
        idle_w=needed(accelerator, "idle_power_w"),
        limit_w=needed(accelerator, "tdp_w"),
        gemm=g.gemm_power,
        memory=g.memory_power,
        communication=g.communication_power,
        bubble=g.bubble_power,
    )))
