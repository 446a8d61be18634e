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
    experts: Count = Field(description="routed experts of a layer")
    experts_per_token: Count = Field(description="routed experts that compute a token")
    expert_hidden: Count = Field(description="feed-forward width of one routed expert")
    shared_hidden: CountOrZero = Field(default=0, description="feed-forward width of all shared experts together")


class LatentAttention(Record):
    """Multi-head latent attention, MLA (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""

    query_rank: CountOrZero = Field(default=0, description="rank of the query compression; 0: none")
    key_value_rank: Count = Field(description="rank of the compression of keys and values")
    rope_dim: Count = Field(description="per-head dimension that carries the rotary position")
    nope_dim: Count = Field(description="per-head dimension without position")
    value_dim: Count = Field(description="per-head dimension of values")


class ModelRecord(Sourced):
    """A decoder-only transformer."""

    name: str = Field(default="inline model", description="in reports")
    layers: Count = Field(description="all layers, dense and mixture of experts")
    hidden: Count = Field(description="width of the residual stream")
    heads: Count = Field(description="query heads")
    key_value_heads: CountOrZero = Field(default=0, description="0: as many as heads")
    head_dim: CountOrZero = Field(default=0, description="0: hidden / heads")
    ffn_hidden: Count = Field(description="feed-forward width of a dense layer")
    gated: bool = Field(description="gated feed-forward (SwiGLU): three matrices instead of two")
    vocabulary: Count = Field(description="rows of the embedding as trained, padding included where published so")
    tied_embeddings: bool = Field(default=False, description="the output matrix is the embedding")
    learned_positions: CountOrZero = Field(default=0, description="rows of learned positions; 0: none")
    attention_bias: Literal["none", "qkv", "all"] = Field(default="none", description="which products of attention have one")
    ffn_bias: bool = Field(default=False, description="products of the feed-forward block have one")
    norm: Literal["rmsnorm", "layernorm"] = Field(default="rmsnorm", description="RMSNorm has a weight, LayerNorm a bias too")
    norms_per_layer: Count = Field(
        default=2, description="of full width. Source: before attention and before the feed-forward block")
    sliding_window: CountOrZero = Field(default=0, description="tokens that a sliding-window layer attends to; 0: all")
    sliding_window_share: Share = Field(default=0.0, description="share of layers with the window")
    mixture_of_experts: MixtureOfExperts | None = None
    latent_attention: LatentAttention | None = None
    published_parameters: Ratio | None = Field(default=None, description="as the publisher states them; to compare, not used")
    published_active_parameters: Ratio | None = Field(default=None, description="the same of those that compute one token")

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

    name: str = Field(default="inline accelerator", description="in reports")
    vendor: str | None = Field(default=None, description="in reports")
    year: Count | None = Field(default=None, description="of introduction")
    generation: str = Field(description="entry of the generations catalog: its measured efficiencies")
    peak_flops: dict[Precision, FlopsPerSecond] = Field(description="dense peak by precision: `{bf16: 989.5 TFLOP/s}`")
    memory_bytes: Bytes = Field(description="of one accelerator")
    memory_bandwidth_bytes_per_s: BytesPerSecond = Field(description="of one accelerator")
    scale_up_domain: Count = Field(description="accelerators joined by the scale-up network (NVLink, ICI)")
    scale_up_bandwidth_bytes_per_s: BytesPerSecond | None = Field(
        default=None, description="an accelerator and direction; needed with more than one")
    scale_up_topology: Literal["switch", "torus-2d", "torus-3d"] = Field(default="switch", description="of the scale-up network")
    scale_up_reduces: bool = Field(default=False, description="switches of the scale-up network reduce (NVLink SHARP)")
    nic_bandwidth_bytes_per_s: BytesPerSecond | None = Field(
        default=None, description="scale-out, an accelerator; needed beyond a scale-up domain")
    host_link_bandwidth_bytes_per_s: BytesPerSecond | None = Field(
        default=None, description="to host memory, an accelerator and direction; needed to offload")
    accelerators_per_node: Count = Field(description="what one node holds, and one failure takes")
    tdp_w: Watts | None = Field(default=None, description="limit of one accelerator; needed")
    idle_power_w: Watts | None = Field(default=None, description="of one accelerator; needed")
    host_power_w: Watts | None = Field(
        default=None, description="rest of a node while its accelerators are idle, fans and losses of supplies apart; needed")
    host_load_share: Share = Field(
        default=0.016, description="growth of that, share of what accelerators draw above idle. Source: MLPerf Training v4.0 "
                                   "power, docs/validation.md")
    fan_share: Share = Field(default=0.0, description="fans of a node, share of what accelerators draw; 0: immersion or liquid")
    supply_efficiency: Annotated[float, Quantity("ratio", 0.5, 1.0)] = Field(
        default=0.94, description="of a node's power supplies. Source: 80 Plus Platinum, FROM MEMORY")
    price_usd: Usd | None = Field(default=None, description="to buy one accelerator")
    released: date | None = Field(
        default=None, description="when it shipped: from where a learning curve counts; absent: the middle of `year`")
    on_demand_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = Field(default=None, description="rent without a term")
    reserved_1y_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = Field(
        default=None, description="rent with a term of a year")
    reserved_3y_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = Field(
        default=None, description="rent with a term of three years")
    spot_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = Field(default=None, description="rent of what may be taken back")
    embodied_kgco2e: KgCo2e | None = Field(
        default=None, description="of one accelerator, as the source bounds it; without it embodied carbon is unknown")


class SoftwareEra(Sourced):
    """What the training software of some years reaches on a generation: one set of efficiencies for all its rows."""

    name: str = Field(description="of the era")
    until: Count | None = Field(default=None, description="last year of the era; absent: today's")
    gemm_efficiency: Share = Field(description="share of peak a large matrix multiplication reaches in training")
    fp8_efficiency: Share = Field(description="the same in fp8 and fp4, over `gemm_efficiency`")
    attention_efficiency: Share = Field(description="share of peak the fused attention kernel reaches, forward")
    memory_efficiency: Share = Field(description="share of memory bandwidth a streaming kernel reaches")


class GenerationRecord(Sourced):
    """A hardware generation: what its units, links and power do, and the eras of its software; see docs/validation.md."""

    name: str = Field(description="of the generation")
    eras: tuple[SoftwareEra, ...] = Field(description="oldest first; the last has no `until`")
    processors: Count = Field(description="units among which a matrix multiplication is dealt (streaming multiprocessors)")
    fill_depth: Ratio = Field(description="inner dimension that takes as long as prologue and epilogue of an output tile")
    softmax_depth: Ratio = Field(description="head dimension whose products take as long as one exponential")
    launch_latency_s: Seconds = Field(description="gap between two kernels")
    host_latency_s: Seconds = Field(description="of the host, to issue one kernel")
    scale_up_efficiency: Share = Field(description="bus bandwidth of a large collective over link bandwidth")
    scale_up_latency_s: Seconds = Field(description="of one hop of the scale-up network")
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

    name: str = Field(default="inline fabric", description="in reports")
    oversubscription: RatioFromOne = Field(default=1.0, description="of traffic that leaves a pod")
    leaf_oversubscription: RatioFromOne = Field(default=1.0, description="of traffic that leaves a leaf")
    leaf_nodes: Count = Field(description="nodes below one leaf switch or rail group, at full bandwidth")
    pod_nodes: Count = Field(description="nodes within which there is no oversubscription")
    rails: bool = Field(
        default=False, description="one leaf a local rank (rail-optimised): accelerators of equal place in their nodes share a "
                                   "leaf over `leaf_nodes` nodes")
    reduces: bool = Field(default=False, description="switches reduce in the network (InfiniBand SHARP)")
    efficiency: Share = Field(description="bus bandwidth of a large collective over NIC bandwidth")
    latency_s: Seconds = Field(description="of one hop of a ring")
    power_w: Watts = Field(description="switches and optics, an accelerator")


class SiteRecord(Sourced):
    """A place: its grid and its buildings."""

    name: str = Field(description="of the place")
    kind: str = Field(description="country, US state, cloud region, provider or world")
    carbon_intensity_kgco2e_per_j: KgCo2ePerJoule | None = Field(default=None, description="of the grid, a year's mean")
    electricity_usd_per_j: UsdPerJoule | None = Field(default=None, description="industrial price, a year's mean")
    pue: RatioFromOne | None = Field(default=None, description="power usage effectiveness")
    water_l_per_j: LitresPerJoule | None = Field(default=None, description="on site, for each energy of IT (WUE)")
    grid_water_l_per_j: LitresPerJoule | None = Field(
        default=None, description="of the grid's plants, for each energy that it delivers")
    carbon_free_share: Share | None = Field(default=None, description="kept, not used")


# Kinds of component, in the order of `kernels.events`.
FailureKind = Literal["hardware", "software", "planned", "corruption", "loss-spike", "slow", "flap", "storage", "preemption"]


class FailureComponent(Record):
    """One cause of interruptions."""

    name: str = Field(description="of the cause, in reports")
    rate_per_s: PerSecond = Field(
        description="per node (`1.3 per 1000 days`), or per domain of `blast_radius` nodes where that is over 1; with a "
                    "`shape`, one over the mean life of a new one. Further nodes of a burst come on top")
    shape: Annotated[float, Quantity("ratio", 0.1, 10.0)] = Field(
        default=1.0, description="of the power law (Weibull): 1 constant, below 1 infant mortality, above 1 wear")
    blast_radius: Count = Field(default=1, description="neighbouring nodes that one event takes down together")
    burst: Ratio = Field(default=0.0, description="mean number of further nodes that follow in the same domain, on top of `rate`")
    burst_spread_s: Seconds = Field(default=0.0, description="mean delay of those")
    burst_domain: Count = Field(
        default=8, description="neighbouring nodes among which they fall: a rack, a power feed. Source: assumed")
    kind: FailureKind = Field(description="what happens: docs/guide.md, section kinds of failure")
    detection_s: RandomSeconds | None = Field(
        default=None, description="until this failure is known: a hang has its timeout; absent: the recovery's")
    repair_s: RandomSeconds | None = Field(default=None, description="of a node that this component took; absent: the recovery's")
    duration_s: RandomSeconds | None = Field(default=None, description="of a slow time, flap, storage outage or planned pause")
    severity: RandomRatio | None = Field(default=None, description="of a slow node: step time over the usual, less 1")
    latency_s: RandomSeconds | None = Field(default=None, description="from a corruption to its discovery")
    rollback: CountOrZero = Field(default=0, description="steps that a loss spike goes back")
    notice_s: Seconds = Field(default=0.0, description="of a preemption; as long as a checkpoint takes, the job saves first")

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
    diagnosis_s: RandomSeconds = Field(default=0.0, description="after that, until it is known which nodes to leave out")
    replacement_s: RandomSeconds = Field(default=0.0, description="to swap in a hot spare")
    warm_replacement_s: RandomSeconds | None = Field(
        default=None, description="to swap in a warm spare; absent: as `replacement`")
    cold_replacement_s: RandomSeconds | None = Field(
        default=None, description="to swap in a cold spare; absent: as `warm_replacement`")
    initialisation_s: RandomSeconds = Field(default=0.0, description="processes, communicators, compilation")
    initialisation_per_node_s: Seconds = Field(default=0.0, description="the same, for each node of the job")
    warm_up_s: RandomSeconds = Field(default=0.0, description="until steps run at their usual speed")
    repair_s: RandomSeconds = Field(default=0.0, description="until a failed node is back in the pool")
    quarantine_s: RandomSeconds | None = Field(
        default=None, description="until a node that failed too often (`cluster.quarantine_after`) is back as a new one; "
                                  "absent: as `repair`")


class FailureProfile(Sourced):
    """How often what fails on a cluster, and how long the parts of recovery take."""

    name: str = Field(default="inline profile", description="in reports")
    components: tuple[FailureComponent, ...] = Field(default=(), description="causes of interruptions; by default nothing fails")
    recovery: Recovery = Recovery()
    frailty: Ratio = Field(
        default=0.0, description="shape of the gamma distribution of nodes' failure rates, mean 1: small for few lemons "
                                 "(InfiniteHBD's trace: 0.93); 0: all nodes are alike")
    age_s: Seconds = Field(default=0.0, description="nodes' time in service when the run begins; for components with a `shape`")
