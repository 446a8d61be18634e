"""From a model's architecture and a training recipe to what the kernels compute."""

from simulator.workload.architecture import architecture, parameters
from simulator.workload.recipe import StepBatch, element_bytes, kept_bytes, step_batches

__all__ = ["StepBatch", "architecture", "element_bytes", "kept_bytes", "parameters", "step_batches"]
