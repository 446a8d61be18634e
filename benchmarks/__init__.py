"""Speed of the simulator: `pytest benchmarks --benchmark-enable`, or `python -m benchmarks` for one table."""
