"""A run by the hour: joules and dollars by kind in each bin of its calendar, which sum to the totals of its row."""

from __future__ import annotations

import numpy as np

from kernels.dispatch import BATTERY, COOLING, DISTRIBUTION
from simulator.accounting.bill import Bill, dollars
from simulator.accounting.capital import NOT_COMPUTE, Held, holding_costs
from simulator.accounting.rates import IT_POWER, Rates


def hourly_energy_j(bill: Bill) -> dict[str, np.ndarray]:
    """Return joules by bin and kind, arrays of shape (n,), of a trial that was run `by_kind`."""
    assert bill.bins.shape[1] == len(IT_POWER) + 2, "run the trial with by_kind=True"
    found = {name: bill.bins[:, i] for i, name in enumerate(IT_POWER)}
    found["spares"] = bill.spare_node_w * bill.bins[:, -1]
    found["cooling_distribution"] = bill.out[:, COOLING] + bill.out[:, DISTRIBUTION]
    if bill.supply.plant.battery_j:
        found["battery"] = bill.out[:, BATTERY]
    return found


def hourly_usd(bill: Bill, held: list[Held], rates: Rates) -> dict[str, np.ndarray]:
    """Return dollars by bin and kind, arrays of shape (n,): holding the machine, storage, and what energy costs.

    What is paid once (egress, the rest of a term) stands in the last bin of the run.

    Parameters
    ----------
    bill : Bill
    held : list of Held
        What was held, in order.
    rates : Rates
        Of the run's last period.
    """
    assert bill.met.grid is not None
    edges_s = bill.met.grid.edges_s
    found = {"holding": _holding_usd(edges_s, held), "storage": rates.storage_usd_per_s * bill.seconds} | dollars(bill)
    last = int(np.flatnonzero(bill.seconds > 0.0)[-1])
    compute = sum((usd for name, usd in found.items() if f"cost_{name}_usd" not in NOT_COMPUTE), np.zeros(bill.seconds.size))
    found["research_overhead"] = (rates.terms.research_overhead - 1.0) * compute
    found["egress"] = np.zeros(bill.seconds.size)
    found["egress"][last] = rates.terms.egress_usd
    found["unused_commitment"] = np.zeros(bill.seconds.size)
    found["unused_commitment"][last] = _unused_usd(held)
    return {name: usd * rates.terms.dollars for name, usd in found.items()}


def _holding_usd(edges_s: np.ndarray, held: list[Held]) -> np.ndarray:
    """Return what holding the machine costs by bin: differences of the closed form at the edges."""
    usd = np.zeros(edges_s.size - 1)
    start_s = 0.0
    for period in held:
        end_s = start_s + sum(period.times.values())
        inside = np.clip(edges_s, start_s, end_s)
        first, last = np.searchsorted(edges_s, [start_s, end_s], side="right") - 1
        spent = np.zeros(edges_s.size)
        spent[first + 1:] = [sum(period.holding.between(start_s, t).values()) for t in inside[first + 1: last + 2].tolist()] + [
            0.0] * max(0, edges_s.size - last - 2)
        spent[last + 2:] = spent[min(last + 1, edges_s.size - 1)]
        usd += np.diff(spent) * (period.accelerators + period.spare_accelerators)
        start_s = end_s
    return usd


def _unused_usd(held: list[Held]) -> float:
    """Return what is left to pay of the terms of a rent."""
    return holding_costs(held)["cost_unused_commitment_usd"]
