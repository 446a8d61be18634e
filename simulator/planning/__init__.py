"""Decisions: which layout to train with."""

from simulator.planning.layouts import LayoutChoice, rank_layouts

__all__ = ["LayoutChoice", "rank_layouts"]
