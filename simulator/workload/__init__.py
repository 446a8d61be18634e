"""From a model's architecture and a training recipe to what the kernels compute."""

from simulator.workload.architecture import architecture, parameters
from simulator.workload.recipe import StepBatch, recipe_pack, step_batches

__all__ = ["StepBatch", "architecture", "parameters", "recipe_pack", "step_batches"]
