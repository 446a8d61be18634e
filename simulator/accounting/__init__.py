"""The ledger: every second, joule, dollar and kilogram of a run has one category, and categories sum to totals."""

from simulator.accounting.ledger import STATES, State
from simulator.accounting.rates import Rates, run_rates
from simulator.accounting.settle import settle

__all__ = ["STATES", "Rates", "State", "run_rates", "settle"]
