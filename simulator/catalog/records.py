"""What the catalog holds: models, accelerators, generations, fabrics, sites, failure profiles; money in `pricing`.

Every record carries `sources`: `default` for what is not named, else by file key. A value that no source gives is
absent, and whoever needs it says so.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.fields import (
    Bytes,
    BytesPerSecond,
    Count,
    CountOrZero,
    FlopsPerSecond,
    KgCo2e,
    KgCo2ePerJoule,
    LitresPerJoule,
    PerSecond,
    Quantity,
    RandomRatio,
    RandomSeconds,
    Ratio,
    RatioFromOne,
    Record,
    Seconds,
    Share,
    Usd,
    UsdPerAcceleratorSecond,
    UsdPerJoule,
    Watts,
)

Precision = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "fp4"]


class Sourced(Record):
    """A record whose values have sources, by file key; `default` covers the rest."""

    sources: dict[str, str] = Field(default_factory=dict)
    notes: str | None = None


class MixtureOfExperts(Record):
    """Mixture-of-experts layers (Fedus et al. 2022; shared experts: DeepSeekMoE, arXiv:2401.06066)."""

    layers: Count = Field(description="how many of the model's layers are mixture-of-experts layers")
    experts: Count
    experts_per_token: Count
    expert_hidden: Count = Field(description="feed-forward width of one routed expert")
    shared_hidden: CountOrZero = Field(default=0, description="feed-forward width of all shared experts together")


class LatentAttention(Record):
    """Multi-head latent attention, MLA (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""

    query_rank: CountOrZero = Field(default=0, description="rank of the query compression; 0: none")
    key_value_rank: Count
    rope_dim: Count = Field(description="per-head dimension that carries the rotary position")
    nope_dim: Count = Field(description="per-head dimension without position")
    value_dim: Count


class ModelRecord(Sourced):
    """A decoder-only transformer."""

    name: str = "inline model"
    layers: Count = Field(description="all layers, dense and mixture of experts")
    hidden: Count
    heads: Count
    key_value_heads: CountOrZero = Field(default=0, description="0: as many as heads")
    head_dim: CountOrZero = Field(default=0, description="0: hidden / heads")
    ffn_hidden: Count = Field(description="feed-forward width of a dense layer")
    gated: bool = Field(description="gated feed-forward (SwiGLU): three matrices instead of two")
    vocabulary: Count = Field(description="rows of the embedding as trained, padding included where published so")
    tied_embeddings: bool = False
    learned_positions: CountOrZero = 0
    attention_bias: Literal["none", "qkv", "all"] = "none"
    ffn_bias: bool = False
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norms_per_layer: Count = 2
    sliding_window: CountOrZero = Field(default=0, description="tokens a sliding-window layer attends to; 0: all")
    sliding_window_share: Share = Field(default=0.0, description="share of layers with the sliding window")
    mixture_of_experts: MixtureOfExperts | None = None
    latent_attention: LatentAttention | None = None
    published_parameters: Ratio | None = Field(default=None, description="count the publisher states")
    published_active_parameters: Ratio | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelRecord:
        if self.mixture_of_experts and self.mixture_of_experts.layers > self.layers:
            raise ValueError(f"mixture_of_experts.layers is {self.mixture_of_experts.layers}; "
                             f"allowed: at most layers, {self.layers}")
        if self.mixture_of_experts and self.mixture_of_experts.experts_per_token > self.mixture_of_experts.experts:
            raise ValueError(f"experts_per_token is {self.mixture_of_experts.experts_per_token}; "
                             f"allowed: at most experts, {self.mixture_of_experts.experts}")
        if not self.head_dim and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is no multiple of heads {self.heads}; give head_dim")
        if self.key_value_heads and self.heads % self.key_value_heads:
            raise ValueError(f"heads {self.heads} is no multiple of key_value_heads {self.key_value_heads}")
        return self


class AcceleratorRecord(Sourced):
    """One accelerator as a scheduler counts it, and its share of the node."""

    name: str = "inline accelerator"
    vendor: str | None = None
    year: Count | None = None
    generation: str = Field(description="entry of the generations catalog: its measured efficiencies")
    peak_flops: dict[Precision, FlopsPerSecond] = Field(description="dense peak by precision, per second")
    memory_bytes: Bytes
    memory_bandwidth_bytes_per_s: BytesPerSecond
    scale_up_domain: Count = Field(description="accelerators joined by the scale-up network (NVLink, ICI)")
    scale_up_bandwidth_bytes_per_s: BytesPerSecond | None = Field(default=None, description="per accelerator and direction")
    scale_up_topology: Literal["switch", "torus-2d", "torus-3d"] = "switch"
    scale_up_reduces: bool = Field(default=False, description="switches of the scale-up network reduce (NVLink SHARP)")
    nic_bandwidth_bytes_per_s: BytesPerSecond | None = Field(default=None, description="scale-out, per accelerator")
    host_link_bandwidth_bytes_per_s: BytesPerSecond | None = Field(
        default=None, description="to host memory, per accelerator and direction")
    accelerators_per_node: Count
    tdp_w: Watts | None = None
    idle_power_w: Watts | None = None
    host_power_w: Watts | None = Field(
        default=None, description="rest of a node while its accelerators are idle, per node; fans and losses of supplies apart")
    host_load_share: Share = Field(default=0.016, description="growth of that, share of what accelerators draw above idle")
    fan_share: Share = Field(default=0.0, description="fans of a node, share of what accelerators draw; 0: immersion, or liquid")
    supply_efficiency: Annotated[float, Quantity("ratio", 0.5, 1.0)] = Field(
        default=0.94, description="of a node's power supplies")
    price_usd: Usd | None = Field(default=None, description="purchase price of one accelerator")
    released: date | None = Field(default=None, description="when it shipped; absent: the middle of `year`")
    on_demand_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = None
    reserved_1y_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = None
    reserved_3y_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = None
    spot_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = None
    embodied_kgco2e: KgCo2e | None = Field(default=None, description="per accelerator, as the source bounds it")


class SoftwareEra(Sourced):
    """What the training software of some years reaches on a generation: one set of efficiencies for all its rows."""

    name: str
    until: Count | None = Field(default=None, description="last year of the era; absent: today's")
    gemm_efficiency: Share = Field(description="share of peak a large matrix multiplication reaches in training")
    fp8_efficiency: Share = Field(description="the same in fp8 and fp4, over `gemm_efficiency`")
    attention_efficiency: Share = Field(description="share of peak the fused attention kernel reaches, forward")
    memory_efficiency: Share = Field(description="share of memory bandwidth a streaming kernel reaches")


class GenerationRecord(Sourced):
    """A hardware generation: what its units, links and power do, and the eras of its software; see docs/validation.md."""

    name: str
    eras: tuple[SoftwareEra, ...] = Field(description="oldest first; the last has no `until`")
    processors: Count = Field(description="units among which a matrix multiplication is dealt (streaming multiprocessors)")
    fill_depth: Ratio = Field(description="inner dimension that takes as long as prologue and epilogue of an output tile")
    softmax_depth: Ratio = Field(description="head dimension whose products take as long as one exponential")
    launch_latency_s: Seconds = Field(description="gap between two kernels")
    host_latency_s: Seconds = Field(description="of the host, to issue one kernel")
    scale_up_efficiency: Share = Field(description="bus bandwidth of a large collective over link bandwidth")
    scale_up_latency_s: Seconds
    overlap_cost: Share = Field(description="compute lost, as a share of the time that a collective runs beside it")
    reference: str = Field(description="accelerator of the generation that the efficiencies were measured on")
    gemm_demand: Ratio = Field(description="power above idle that large multiplications would draw at full clock, over TDP's")
    memory_demand: Share = Field(description="the same during memory-bound operators")
    communication_demand: Share = Field(description="the same while waiting in an exposed collective")
    bubble_demand: Share = Field(description="the same in a pipeline bubble or a stall")
    serving_memory_efficiency: Share | None = Field(
        default=None, description="share of memory bandwidth that serving reaches; absent: `memory_efficiency` of the era")
    serving_memory_demand: Share | None = Field(
        default=None, description="`memory_demand` of serving, where weights and cache stream; absent: that of training")
    clock_exponent: Ratio = Field(description="power above idle grows with this power of the clock")
    voltage_floor: Share = Field(description="clock, over the full one, below which the voltage falls no further")

    def era(self, year: int | None = None) -> SoftwareEra:
        """Return the software of a year: the first era that lasts until then, today's where no year is given."""
        for era in self.eras:
            if year is not None and era.until is not None and year <= era.until:
                return era
        return self.eras[-1]


class FabricRecord(Sourced):
    """The scale-out network."""

    name: str = "inline fabric"
    oversubscription: RatioFromOne = Field(default=1.0, description="of traffic that leaves a pod")
    leaf_oversubscription: RatioFromOne = Field(default=1.0, description="of traffic that leaves a leaf")
    leaf_nodes: Count = Field(description="nodes below one leaf switch or rail group, full bandwidth")
    pod_nodes: Count = Field(description="nodes within which there is no oversubscription")
    rails: bool = Field(default=False, description="one leaf a local rank: accelerators of equal place in their nodes "
                                                   "share a leaf over leaf_nodes nodes")
    reduces: bool = Field(default=False, description="switches reduce in the network (InfiniBand SHARP)")
    efficiency: Share = Field(description="bus bandwidth of a large collective over NIC bandwidth")
    latency_s: Seconds
    power_w: Watts = Field(description="switches and optics, per accelerator")


class SiteRecord(Sourced):
    """A place: its grid and its buildings."""

    name: str
    kind: str
    carbon_intensity_kgco2e_per_j: KgCo2ePerJoule | None = None
    electricity_usd_per_j: UsdPerJoule | None = None
    pue: RatioFromOne | None = None
    water_l_per_j: LitresPerJoule | None = Field(default=None, description="on-site water, WUE")
    grid_water_l_per_j: LitresPerJoule | None = None
    carbon_free_share: Share | None = None


# Kinds of component, in the order of `kernels.events`.
FailureKind = Literal["hardware", "software", "planned", "corruption", "loss-spike", "slow", "flap", "storage", "preemption"]


class FailureComponent(Record):
    """One cause of interruptions."""

    name: str
    rate_per_s: PerSecond = Field(
        description="per node, or per domain of `blast_radius` nodes where that is over 1; with a `shape` the inverse of the "
                    "mean life of a new one. Further nodes of a burst come on top")
    shape: Annotated[float, Quantity("ratio", 0.1, 10.0)] = Field(
        default=1.0, description="of the power law (Weibull): 1 constant, below 1 infant mortality, above 1 wear")
    blast_radius: Count = Field(default=1, description="nodes that one event takes down together")
    burst: Ratio = Field(default=0.0, description="mean number of further nodes of the same domain that follow")
    burst_spread_s: Seconds = Field(default=0.0, description="mean delay of those")
    burst_domain: Count = Field(default=8, description="nodes of a domain (a rack, a power feed)")
    kind: FailureKind = Field(
        description="hardware: nodes leave for repair; software: restart in place; planned: save, pause, restart in place; "
                    "corruption: found late, back to before it; loss-spike: back by `rollback`; slow: a node is slow for a "
                    "while; flap: the job stalls; storage: nothing is written or loaded; preemption: nodes leave, with notice")
    detection_s: RandomSeconds | None = Field(default=None, description="in place of the recovery's: a hang has its timeout")
    repair_s: RandomSeconds | None = Field(default=None, description="in place of the recovery's")
    duration_s: RandomSeconds | None = Field(default=None, description="of a slow time, flap, storage outage or planned pause")
    severity: RandomRatio | None = Field(default=None, description="of a slow node: step time over the usual, less one")
    latency_s: RandomSeconds | None = Field(default=None, description="from corruption to its discovery")
    rollback: CountOrZero = Field(default=0, description="steps that a loss spike goes back")
    notice_s: Seconds = Field(default=0.0, description="of a preemption")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> FailureComponent:
        needed = {"corruption": ("latency_s",), "slow": ("duration_s", "severity"), "flap": ("duration_s",),
                  "storage": ("duration_s",), "loss-spike": ("rollback",)}
        for key in needed.get(self.kind, ()):
            if not getattr(self, key):
                raise ValueError(f"component {self.name!r} of kind {self.kind!r} lacks {key.removesuffix('_s')!r}")
        return self


class Recovery(Record):
    """The parts of a restart; each is drawn at every event (constant, or a distribution)."""

    detection_s: RandomSeconds = Field(default=0.0, description="from failure to the decision to restart")
    diagnosis_s: RandomSeconds = Field(default=0.0, description="until it is known which nodes to leave out")
    replacement_s: RandomSeconds = Field(default=0.0, description="swap in a hot spare")
    warm_replacement_s: RandomSeconds | None = Field(default=None, description="swap in a warm spare; absent: as a hot one")
    cold_replacement_s: RandomSeconds | None = Field(default=None, description="swap in a cold spare; absent: as a warm one")
    initialisation_s: RandomSeconds = Field(default=0.0, description="processes, communicators, compilation")
    initialisation_per_node_s: Seconds = Field(default=0.0, description="the same, growing with each node of the job")
    warm_up_s: RandomSeconds = Field(default=0.0, description="until steps run at their usual speed")
    repair_s: RandomSeconds = Field(default=0.0, description="until a failed node is back in the pool")
    quarantine_s: RandomSeconds | None = Field(
        default=None, description="until a node that failed too often is replaced for good; absent: as repair")


class FailureProfile(Sourced):
    """How often what fails on a cluster, and how long the parts of recovery take."""

    name: str = "inline profile"
    components: tuple[FailureComponent, ...] = ()
    recovery: Recovery = Recovery()
    frailty: Ratio = Field(
        default=0.0, description="shape of the gamma distribution of nodes' failure rates; 0: all nodes are alike")
    age_s: Seconds = Field(default=0.0, description="time in service when the run begins, for components with a `shape`")
