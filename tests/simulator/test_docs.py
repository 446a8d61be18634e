"""What the documents say holds: links, anchors, commands, files, examples, and what is generated."""

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer.main

from simulator.cli import app
from simulator.scenario import Scenario, load_file
from simulator.scenario.reading import parse_document
from simulator.scenario.reference import anchor
from simulator.validation.readme import update

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "reference").glob("*.md"))]
OURS = [page for page in PAGES if page.parent.name != "reference" and page.name not in ("validation.md", "decisions.md")]
FENCE = re.compile(r"(?:<!-- not run: ([^\n]+?) -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
WRITTEN = re.compile(r"# ([\w-]+\.(?:yaml|csv))\n")  # the first line of a block that is a file


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    found: dict[str, int] = {}
    for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = anchor(LINK.sub(lambda m: m[0][1:].split("]")[0], title.strip()))
        found[slug] = found.get(slug, 0) + 1
    return set(found) | {f"{slug}-{i}" for slug, n in found.items() for i in range(1, n)}


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Return (why it is not run, text) of the blocks in a language."""
    return [(why, text) for why, kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(prose(page)):
        target, _, at = link.partition("#")
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file = (page.parent / html.unescape(target)).resolve() if target else page
        if not file.exists() or (at and file.suffix == ".md" and at not in anchors(file)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", [page for page in OURS if page.parent.name == "docs"], ids=name)
def test_pages_of_the_site_link_within_it(page: Path) -> None:
    assert [link for link in LINK.findall(prose(page)) if link.startswith("..")] == []


def commands(page: Path) -> list[tuple[str, bool]]:
    """Return the `clustercost` commands of a page, and whether they are whole: in its shell blocks, not in its text."""
    found = {}
    for _, text in blocks(page, "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            parts = [part.strip() for part in re.split(r"&&|\|", line.split(" #")[0])]
            found |= {part: True for part in parts if re.match(r"(\S*/)?clustercost\b", part)}
    quoted = re.findall(r"`(clustercost [^`]+)`", prose(page).replace("\n", " "))
    found |= {words: False for words in quoted if "..." not in words and words not in found}
    return [(command.split(" > ")[0], whole) for command, whole in found.items()]


ALL = [(name(page), *command) for page in OURS for command in commands(page)]
PARSER = typer.main.get_command(app)


@pytest.mark.parametrize(("page", "command", "whole"), ALL)
def test_commands_and_their_options_exist(page: str, command: str, whole: bool) -> None:
    words = [word for word in shlex.split(command)[1:] if word not in ("-q", "-v", "--quiet", "--verbose")]
    of_all = {option for parameter in PARSER.params for option in parameter.opts} | {"--help"}
    if words and words[0] not in of_all:
        assert words[0] in PARSER.commands, f"no command {words[0]!r}"
        parser = PARSER.commands[words[0]]
        known = {option for parameter in parser.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        assert [word for word in words[1:] if word.startswith("-") and word.split("=")[0] not in known] == []
        if whole:
            parser.make_context(words[0], words[1:])  # raises where something lacks or is of the wrong kind


def test_a_command_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError):
        test_commands_and_their_options_exist("", "clustercost run x.yaml --trails 3", False)
    with pytest.raises(AssertionError):
        test_commands_and_their_options_exist("", "clustercost rum x.yaml", False)
    with pytest.raises(Exception, match="valid integer"):
        test_commands_and_their_options_exist("", "clustercost run x.yaml --trials many", True)


@pytest.mark.parametrize("page", OURS, ids=name)
def test_scenario_files_named_exist(page: Path) -> None:
    found = set(re.findall(r"\bscenarios/[\w/-]+\.(?:yaml|csv)", page.read_text(encoding="utf-8"))) - {"scenarios/missing.yaml"}
    assert [file for file in sorted(found) if not (ROOT / file).exists()] == []


def test_the_readme_lists_every_command() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Commands")[1].split("\n## ")[0]
    listed = [word for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(PARSER.commands)


def test_the_readme_has_the_accuracy_of_now() -> None:
    readme, validation = ((ROOT / file).read_text(encoding="utf-8") for file in ("README.md", "docs/validation.md"))
    assert readme == update(readme, validation), "run: python -m simulator.validation.readme"


@pytest.mark.parametrize("page", OURS, ids=name)
def test_yaml_is_read_and_whole_files_are_scenarios(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    for file in (ROOT / "scenarios").glob("*.yaml"):
        shutil.copy(file, tmp_path)
    for i, (_, text) in enumerate(blocks(page, "yaml")):
        if text.count("\n    price:") > 1 or text.startswith("    "):
            continue  # lines that stand below other keys; test_series reads each
        document = parse_document(text, name(page)).data
        if "extends" in document or {"name", "jobs"} <= set(document):
            file = tmp_path / f"block-{i}.yaml"
            file.write_text(text, encoding="utf-8")
            assert load_file(file).name == document["name"]


def test_the_files_of_extending_run(tmp_path: Path) -> None:
    from simulator.montecarlo import run_study

    for file in (ROOT / "scenarios").glob("*.yaml"):
        shutil.copy(file, tmp_path)
    found = [text for _, text in blocks(ROOT / "docs" / "extending.md", "yaml") if WRITTEN.match(text)]
    assert len(found) >= 5
    for text in found:
        file = tmp_path / WRITTEN.match(text)[1]
        file.write_text(text, encoding="utf-8")
        scenario = load_file(file)
        assert isinstance(scenario, Scenario)
        few = scenario.monte_carlo.model_copy(update={"trials": 3})
        assert (run_study(scenario.model_copy(update={"monte_carlo": few})).column("cost_usd") > 0.0).all()


def test_the_rows_of_extending_are_predicted(tmp_path: Path) -> None:
    from simulator.validation.throughput import predictions

    ((_, text),) = blocks(ROOT / "docs" / "extending.md", "csv")
    (tmp_path / "rows.csv").write_text(text.split("\n", 1)[1], encoding="utf-8")
    (line,) = predictions(tmp_path / "rows.csv")
    assert line["feasible"] == "yes"
    assert abs(float(line["error"])) < 0.3


def test_the_model_lists_its_sections_and_names_every_kernel() -> None:
    page = ROOT / "docs" / "model.md"
    listed = re.findall(r"\]\(#([\w-]+)\)", prose(page).split("Contents: ")[1].split("\n\n")[0])
    assert listed == [anchor(title) for title in re.findall(r"^## (.+)$", prose(page), re.MULTILINE)]
    files = [file for folder in ("kernels", "simulator/accounting") for file in sorted((ROOT / folder).glob("[a-z]*.py"))]
    text = page.read_text(encoding="utf-8")
    assert [name(file) for file in files if f"`{name(file)}`" not in text] == []


WITH_PYTHON = [page for page in OURS if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python_runs_top_to_bottom(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    run = [text for why, text in blocks(page, "python") if not why]
    skipped = [why for why, text in blocks(page, "python") if why]
    assert run or all(len(why) > 10 for why in skipped)
    for i, text in enumerate(run):
        (tmp_path / f"block{i}.py").write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, f"block{i}.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                              check=False)
        assert done.returncode == 0, done.stderr[-2000:]


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                           env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 10
    for page in pages:
        tags = r'(?:<script[^>]*src|<img[^>]*src|<link[^>]*rel="stylesheet"[^>]*href)="(https?:[^"]+)'
        assert re.findall(tags, page.read_text(encoding="utf-8")) == [], page
