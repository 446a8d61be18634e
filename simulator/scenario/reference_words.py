"""Words of the reference of scenario files that no schema has: headings, and what units are called."""

# kind of quantity -> what the column of units says
UNITS: dict[str, str] = {
    "time": "time",
    "power": "power",
    "energy": "energy",
    "bytes": "bytes",
    "bandwidth": "bytes/time",
    "flop_rate": "FLOP/time",
    "money": "USD",
    "money_per_accelerator_time": "USD/time, of one accelerator",
    "money_per_energy": "USD/energy",
    "money_per_bytes_time": "USD/bytes/time",
    "money_per_bytes": "USD/bytes",
    "money_per_time": "USD/time",
    "money_per_power_time": "USD/power/time",
    "carbon_mass": "CO2e",
    "money_per_carbon": "USD/CO2e",
    "carbon_per_energy": "CO2e/energy",
    "volume_per_energy": "litres/energy",
    "count": "count",
    "ratio": "ratio",
    "temperature": "temperature",
    "rate": "1/time",
    "flop": "FLOP",
    "flop_rate_per_money": "FLOP/time/USD",
    "flop_rate_per_power": "FLOP/time/power",
}

# kind of the catalog -> heading of its records
CATALOG_TITLES: dict[str, str] = {
    "models": "model",
    "accelerators": "accelerator",
    "fabrics": "fabric",
    "failures": "failures",
    "sites": "site",
    "generations": "generation",
    "pricing": "pricing preset",
    "laws": "scaling law",
    "growth": "growth law",
}

HEAD = """# Scenario reference

Written by `clustercost schema --markdown`; do not edit. Every key of the four kinds of scenario file, from the schema that reads
them; the [guide](guide.md) explains how they work together, with examples, and [model.md](model.md) has the equations.

- **Default**: "-" must be given, "none" may be absent, "its defaults" are those of the keys below it.
- **Meaning** names the source of a default that was measured, published or assumed. 0, 1, none and empty add nothing.
- **Names** of the catalog may stand where it says so; so may a mapping with all keys of a [record](#records-of-the-catalog), or
  one with `preset` and the keys that change: `{preset: h100-sxm-80gb, tdp: 600 W}`.
- A quantity is text with a unit. Any that is no whole number may be a [distribution](guide.md#distributions), drawn once a trial
  ("drawn at every event": then), but where it says "one number"; a [series](#series) changes over the run.

## Units

Bits are `b`, bytes `B`. A share is a ratio from 0 to 1, such as `0.5 %`. Counts and USD may be scaled: `15.6 T` (k, M, G or B, T,
P, E). Whole counts go up to 1e9."""

TRAINING = """## Training files

One training run: `clustercost run`, `step`, `energy`, `plan` and all other commands. Keys of the top level:"""

JOBS = """## Jobs files

A file with `jobs`, and without `model` and `training`: many jobs on one cluster, for `clustercost run`. Keys of the top level:"""

SERVING = """## Serving files

A file with `serving` and `load`: a model that serves users. Keys of the top level:"""

LIFECYCLE = """## Life-cycle files

A file with `months`: a model from its training to its last month, for `clustercost lifecycle`. Keys of the top level:"""

SERIES = """## Series

A quantity that changes over the run, where "a series" is allowed: one of `csv`, `rows`, `synthetic`, `solar`, `wind` and
`tariff`, with the keys beside it. [How they are read](guide.md#calendar-and-series)."""

RECORDS_HEAD = """## Records of the catalog

What a name stands for; `clustercost catalog KIND NAME` prints one. Every record may have `sources` (a source by key; `default`
for the rest) and `notes`."""
