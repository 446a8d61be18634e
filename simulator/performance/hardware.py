"""Catalog accelerators and fabrics as the kernels take them; says what is missing."""

from __future__ import annotations

from kernels.collectives import Network
from kernels.power import PowerModel
from kernels.step import Device
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, FabricRecord, GenerationRecord
from simulator.errors import UserError
from simulator.fields import file_key

# 16-bit formats stand in for one another where the hardware has only one of them (V100: fp16, TPU: bf16).
_SIXTEEN_BIT = {"bf16": "fp16", "fp16": "bf16"}


def generation(accelerator: AcceleratorRecord) -> GenerationRecord:
    """Return the measured efficiencies of the accelerator's generation."""
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


def device(accelerator: AcceleratorRecord, precision: str, measured: GenerationRecord | None = None) -> Device:
    """Return the rates one accelerator reaches in a precision; `measured` replaces the catalog's efficiencies."""
    g = measured or generation(accelerator)
    wide = precision if precision in ("fp32", "tf32") else "bf16"
    peak_16 = peak_flops_per_s(accelerator, wide)
    return Device(
        gemm_flops_per_s=peak_flops_per_s(accelerator, precision) * g.gemm_efficiency,
        gemm_flops_per_s_16=peak_16 * g.gemm_efficiency,
        attention_flops_per_s=peak_16 * g.attention_efficiency,
        gemm_half_depth=g.gemm_half_depth,
        memory_bytes_per_s=accelerator.memory_bandwidth_bytes_per_s * g.memory_efficiency,
        launch_latency_s=g.launch_latency_s,
    )


def network(accelerator: AcceleratorRecord, fabric: FabricRecord, accelerators: int) -> Network:
    """Return both network levels as collectives reach them; what one accelerator never uses may be unknown."""
    g = generation(accelerator)
    single = accelerators <= 1
    inside = accelerators <= accelerator.scale_up_domain
    up = 1.0 if single else needed(accelerator, "scale_up_bandwidth_bytes_per_s")
    nic = 1.0 if inside else needed(accelerator, "nic_bandwidth_bytes_per_s")
    return Network(
        domain=float(accelerator.scale_up_domain),
        scale_up_bytes_per_s=up * g.scale_up_efficiency,
        scale_up_latency_s=g.scale_up_latency_s,
        nic_bytes_per_s=nic * fabric.efficiency,
        nic_latency_s=fabric.latency_s,
        pod=float(fabric.pod_nodes * accelerator.accelerators_per_node),
        oversubscription=fabric.oversubscription,
    )


def power_model(accelerator: AcceleratorRecord) -> PowerModel:
    """Return power by phase of one accelerator."""
    g = generation(accelerator)
    return PowerModel(
        idle_w=needed(accelerator, "idle_power_w"),
        limit_w=needed(accelerator, "tdp_w"),
        gemm=g.gemm_power,
        memory=g.memory_power,
        communication=g.communication_power,
        bubble=g.bubble_power,
    )
