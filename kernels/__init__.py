"""Compiled, pure functions on scalars and arrays: the numbers of a training step and of a run.

Nothing here reads a file, keeps state or knows a scenario. Parameter packs are NamedTuples of floats.
"""
