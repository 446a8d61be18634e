"""Hostile scenario files: made, opened and run, to see that each ends in a result or in one clear error.

    python -m fuzz.run --count 100000        # hypothesis: files that are nonsense, damaged or extreme; loaded and run
    python -m fuzz.loader -max_total_time=300  # atheris, guided by coverage: the loader only (extra `fuzz`)
"""
