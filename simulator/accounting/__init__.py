"""The ledger: every second, joule, dollar and kilogram of a run has one category, and categories sum to totals."""

from simulator.accounting.bill import Bill, make_bill
from simulator.accounting.ledger import STATES, State
from simulator.accounting.rates import Rates, rated_w, repriced, run_rates
from simulator.accounting.settle import settle
from simulator.accounting.supply import Supply, supply

__all__ = ["STATES", "Bill", "Rates", "State", "Supply", "make_bill", "rated_w", "repriced", "run_rates", "settle", "supply"]
