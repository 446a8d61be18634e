"""Scenario files that nobody should write, as hypothesis strategies of bytes: nonsense, damaged, and well-formed but extreme."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzz.fields import changes
from simulator.scenario import starter

ROOT = Path(__file__).parents[1]
SHIPPED = tuple(sorted((ROOT / "scenarios").glob("*.yaml")))
# The queue runs for 2 days instead of 28, so that an input costs milliseconds.
TEXTS = (starter(), *(file.read_text(encoding="utf-8").replace("horizon: 28 days", "horizon: 2 days").replace(
    "warm_up: 7 days", "warm_up: 1 day") for file in SHIPPED))
_DATA = tuple(yaml.safe_load(text) for text in TEXTS)

_TOKENS = re.compile(r"[A-Za-z_][\w-]*|[\d.]+|\n|[ \t]+|.")
_SPLIT = tuple(tuple(_TOKENS.findall(text)) for text in TEXTS)
_WORDS = tuple(sorted({token for tokens in _SPLIT for token in tokens if token.strip()}))

EXTREME = ("1e308", "-1e308", "1e-308", "5e-324", "1e999", "-1", "0", "-0.0", "nan", ".nan", ".inf", "-.inf", '""', "''", "null",
           "~", "true", "no", "1e18", "9007199254740993", "9" * 400, "0x10", "1_000", "{}", "[]", "[[]]", "{a: {a: {a: 1}}}",
           "[" * 60, "{a: " * 60, "&a", "*a", "!!python/object:os.system", "!!str", "<<", "?", "- ", "|", ">", "---", "...",
           "%YAML 1.1", "# ", "\t", "\ufeff", "\0", "\x85", "\u2028", "\U0001f600", "e\u0301", "'", '"', "a" * 300, "7:1",
           "100 %", "1 s", "0 s", "1e300 years", "1e-300 s", "1e308 USD", "1e17 TB", "-5 GB", "2999-12-31", "1971-01-01",
           "0001-01-01", "2024-02-30", "../../../etc/passwd", "/dev/zero", "/dev/stdin", ".", "{csv: /dev/zero}",
           "{extends: x}", "{uniform: [0, 1]}", "{choice: []}", "{normal: [0, 1e308]}", "{lognormal: [1, 1e3]}",
           "{triangular: [1, 1, 1]}", "{truncate: [1, 0]}", "{empirical: {values: [1, 2]}}", "auto", "simulated", "none")
_RIVALS = {("pricing", "owned"): "rental", ("pricing", "rental"): "owned", ("facility", "overheads"): "pue"}  # one or the other


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a shipped file in which tokens are deleted, doubled, moved or replaced."""
    tokens = list(draw(st.sampled_from(_SPLIT)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(tokens) - 1)) if tokens else 0
        act = draw(st.sampled_from(("delete", "double", "extreme", "extreme", "word", "cut", "line", "swap")))
        if act == "delete":
            del tokens[at:at + draw(st.integers(1, 4))]
        elif act == "double":
            tokens[at:at] = tokens[at:at + draw(st.integers(1, 30))]
        elif act == "extreme":
            tokens[at:at + 1] = [draw(st.sampled_from(EXTREME))]
        elif act == "word":
            tokens[at:at + 1] = [draw(st.sampled_from(_WORDS))]
        elif act == "cut":
            del tokens[at + 1:]
        elif act == "line":
            tokens[at:at] = ["\n", " " * draw(st.integers(0, 6)), draw(st.sampled_from(_WORDS)), ": ",
                             draw(st.sampled_from(EXTREME)), "\n"]
        elif tokens:
            other = draw(st.integers(0, len(tokens) - 1))
            tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens).encode("utf-8", "surrogatepass")


@st.composite
def spliced(draw: st.DrawFn) -> bytes:
    """Return a shipped file with any bytes in it."""
    text = draw(st.sampled_from(TEXTS)).encode()
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.binary(min_size=1, max_size=20)) + text[at + draw(st.integers(0, 20)):]


@st.composite
def extreme(draw: st.DrawFn) -> bytes:
    """Return a shipped scenario of which some fields have other values of the right kind, most within their bounds."""
    data = copy.deepcopy(draw(st.sampled_from(_DATA)))
    for path, value in draw(changes("jobs" in data)):
        _put(data, path, value)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def _put(data: Any, path: tuple[str, ...], value: Any) -> None:
    """Put a value at a path of a file; a catalog's name on the way becomes a preset that the rest is laid over."""
    *way, last = path
    rival = _RIVALS.get(path[:2])
    if rival is not None and isinstance(data.get(path[0]), dict):
        data[path[0]].pop(rival, None)
    for step in way:
        inner = data.get(step)
        if not isinstance(inner, dict):
            inner = {"preset": inner} if isinstance(inner, str) else {}
            data[step] = inner
        data = inner
    data[last] = value


nonsense = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from((*EXTREME, *_WORDS[:200], ": ", "\n", "\n  ", ", ", "{", "}", "[", "]")), max_size=40).map(
        lambda words: "".join(words).encode("utf-8", "surrogatepass")),
)

# What reaches furthest is drawn most.
files = st.one_of(extreme(), extreme(), extreme(), damaged(), damaged(), spliced(), nonsense)
