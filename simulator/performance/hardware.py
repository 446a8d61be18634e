"""Catalog accelerators and fabrics as the kernels take them; says what is missing."""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels.packs import Device, Network, Step
from kernels.power import PhasePower, PowerModel, phase_powers, product_clock, step_power
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


def clock_share(accelerator: AcceleratorRecord, g: GenerationRecord, power_limit_w: float | None = None) -> float:
    """Return the clock at which large products run, over that of the generation's reference accelerator at its TDP.

    Power above idle grows with clock^exponent down to the floor of the voltage (`kernels.power`), and in proportion to the peak.
    Products that would draw more than the limit lower the clock until they draw just that, so a 500 W H100 is slower than a
    700 W one, and so is a 700 W one under a limit of 500 W.
    """
    reference = catalog.load("accelerators", g.reference)
    if not (knows_power(accelerator) and knows_power(reference)):
        return 1.0
    peak = peak_flops_per_s(accelerator, "bf16") / peak_flops_per_s(reference, "bf16")
    at_tdp, own = power_model(reference, None, g), power_model(accelerator, power_limit_w, g)
    # Of the chip at full clock: the reference's demand, with as many units as the peak says.
    drawn = own._replace(gemm=at_tdp.gemm * peak * (at_tdp.tdp_w - at_tdp.idle_w) / (own.tdp_w - own.idle_w))
    return float(product_clock(drawn) / product_clock(at_tdp))


def device(accelerator: AcceleratorRecord, precision: str, era: SoftwareEra, g: GenerationRecord | None = None,
           power_limit_w: float | None = None) -> Device:
    """Return the rates one accelerator reaches in a precision, with the software of an era, under a power limit."""
    g = g or generation(accelerator)
    peak_16 = peak_flops_per_s(accelerator, precision if precision in ("fp32", "tf32") else "bf16")
    clock = clock_share(accelerator, g, power_limit_w)
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


def power_model(accelerator: AcceleratorRecord, power_limit_w: float | None = None, g: GenerationRecord | None = None
                ) -> PowerModel:
    """Return an accelerator's power as the kernels take it; UserError where the catalog lacks its power."""
    g = g or generation(accelerator)
    tdp_w = needed(accelerator, "tdp_w")
    return PowerModel(
        idle_w=needed(accelerator, "idle_power_w"),
        tdp_w=tdp_w,
        limit_w=tdp_w if power_limit_w is None else power_limit_w,
        gemm=g.gemm_demand,
        memory=g.memory_demand,
        communication=g.communication_demand,
        bubble=g.bubble_demand,
        exponent=g.clock_exponent,
        floor=g.voltage_floor,
    )


def phase_power(accelerator: AcceleratorRecord, power_limit_w: float | None = None, step: Step | None = None) -> PhasePower:
    """Return watts of one accelerator in every phase: of a step, or each phase for itself where none is given."""
    p = power_model(accelerator, power_limit_w)
    return PhasePower(*(phase_powers(p) if step is None else step_power(p, step)))


class NodePower(NamedTuple):
    """Watts of a node beside its accelerators; floats, or arrays of one shape."""

    host_w: Any  # processors, memory, network interfaces, scale-up switches, drives
    fans_w: Any
    supply_loss_w: Any

    @property
    def total_w(self) -> Any:
        """All of it, at the plug of the node."""
        return self.host_w + self.fans_w + self.supply_loss_w


def node_power(accelerator: AcceleratorRecord, accelerator_w: Any) -> NodePower:
    """Return what a node draws beside its accelerators while each of them draws `accelerator_w`.

    A part that is always on, one that follows what the accelerators draw above idle, fans that follow their heat, and what the
    supplies lose of it all.

    Parameters
    ----------
    accelerator : AcceleratorRecord
        With `host_power`; UserError where the catalog has none.
    accelerator_w : float or ndarray
        Watts of one accelerator.
    """
    a, n = accelerator, accelerator.accelerators_per_node
    above_w = accelerator_w - needed(a, "idle_power_w")
    host_w = needed(a, "host_power_w") + a.host_load_share * n * above_w
    fans_w = a.fan_share * n * accelerator_w
    out_w = n * accelerator_w + host_w + fans_w
    return NodePower(host_w, fans_w, out_w * (1.0 / a.supply_efficiency - 1.0))


# A flash file server draws 1.5 to 2 kW and writes some 65 GB/s (DDN AI400X2, FROM MEMORY).
STORAGE_J_PER_BYTE = 27e-9


def storage_power_w(bandwidth_bytes_per_s: float) -> float:
    """Return what the storage that can write so fast draws, watts; flash draws about as much when it waits."""
    return STORAGE_J_PER_BYTE * bandwidth_bytes_per_s
