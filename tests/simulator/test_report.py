"""The report: complete, self-contained, safe with names of strangers, and clear about folders that are damaged."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.performance import longest
from simulator.report import plots
from simulator.report.document import write_report
from simulator.report.document.background import inputs
from simulator.report.loading import SavedStudy, load_results
from simulator.report.style import amount, digits, numbers, percent
from simulator.validation.status import read_status
from tests.simulator.studies import small

HOSTILE = '<script>alert("1")</script> & $x_1$ | *b* [a](http://x) `c`'
SECTIONS = ("Summary", "What the run may come to", "Where time, energy and money go", "What drives the spread",
            "A median run and a late one", "One training step", "Power", "Inputs and their sources", "Assumptions",
            "Validation of the parts used", "Provenance, and how to make it again")
FILES = ("scenario.yaml", "trials.parquet", "timeline.parquet", "summary.json", "provenance.json")


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all tags of a name."""
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        """Return the text, spaces made one."""
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenario = small(60, goals={"deadline": "2 days", "budget": "1 M USD"}, name=HOSTILE)
    return run_study(scenario).save(tmp_path_factory.mktemp("results") / "hostile")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenario = small(60, checkpoint={"storage_bandwidth": "1 GB/s", "interval": "10 min"})
    return run_study(scenario).save(tmp_path_factory.mktemp("results") / "other")


@pytest.fixture(scope="module")
def study(folder: Path) -> SavedStudy:
    return load_results(folder)


@pytest.fixture(scope="module")
def text(folder: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_report([folder, other], file)
    return file.read_text(encoding="utf-8")


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_the_page_has_every_section_and_no_script(text: str) -> None:
    page = Page(text)
    titles = re.findall(r"<h2>([^<]+)</h2>", text)
    assert set(SECTIONS) <= set(titles)
    assert "Side by side" in titles
    assert page.of("script") == [] and page.of("link") == [] and page.of("iframe") == []
    assert len(text.encode()) < 3_000_000


def test_nothing_is_loaded_from_elsewhere(text: str) -> None:
    for tag, attrs in Page(text).tags:
        for key in ("src", "href", "data", "poster", "srcset", "action"):
            value = attrs.get(key) or "#"
            assert value.startswith(("#", "data:image/")), (tag, key, value[:80])
    assert "@import" not in text and "url(" not in text


def test_names_of_strangers_are_text(text: str) -> None:
    assert "<script>" not in text
    assert HOSTILE in Page(text).text
    assert not [attrs for _, attrs in Page(text).tags if any(key.startswith("on") for key in attrs)]


def test_every_picture_has_words_for_those_who_do_not_see_it(text: str) -> None:
    pictures = Page(text).of("img")
    assert len(pictures) >= 15
    assert all(len(str(picture["alt"])) > 20 and re.search(r"\d", str(picture["alt"])) for picture in pictures)
    assert len(Page(text).of("figcaption")) == len(pictures)
    assert len({str(picture["alt"]) for picture in pictures}) == len(pictures)


def test_every_link_within_the_page_has_its_place_and_no_place_is_there_twice(text: str) -> None:
    page = Page(text)
    places = [str(attrs["id"]) for _, attrs in page.tags if "id" in attrs]
    assert len(set(places)) == len(places)
    assert {str(attrs["href"])[1:] for attrs in page.of("a")} <= set(places)


def test_numbers_are_those_of_the_summary(text: str, study: SavedStudy) -> None:
    page, results = Page(text).text, study.summary()["results"]
    for column, divisor in (("time_s", 3600.0), ("cost_usd", 1e3)):
        low, mid, high = numbers(*(results[column][q] / divisor for q in ("p5", "p50", "p95")))
        assert f"{mid} {'hours' if column == 'time_s' else 'thousand USD'} ({low} to {high})" in page
    for name, chance in study.summary()["goals"].items():
        assert f"meet the {name} of" in page
        assert f"{100 * chance['probability']:.3g} % (95 % interval {100 * chance['low']:.3g}" in page
    assert study.provenance["catalog_hash"] in page


def test_a_folder_read_back_is_the_study_that_was_saved(folder: Path, study: SavedStudy) -> None:
    again = run_study(study.scenario)
    assert all(np.array_equal(again.column(name), study.column(name), equal_nan=True) for name in again.columns)
    assert again.representative() == study.representative()
    assert again.summary() == study.summary()
    pd.testing.assert_frame_equal(again.timelines(), study.timelines(), check_dtype=False)
    assert again.estimates == study.estimates


def test_categories_add_up_to_the_mean_and_to_the_variance(study: SavedStudy) -> None:
    for total in ("time_s", "energy_j", "cost_usd"):
        found = plots.breakdown.parts(study, total)
        assert sum(p.mean for p in found) == pytest.approx(float(study.column(total).mean()), rel=1e-6)
        assert sum(p.of_spread for p in found) == pytest.approx(1.0, abs=1e-6)


def test_the_price_drives_the_cost(study: SavedStudy) -> None:
    first = plots.drivers.drivers(study, "cost_usd")[0]
    assert first.name == "pricing.rental.price"
    assert first.rank > 0.9 and first.low < float(study.column("cost_usd").mean()) < first.high


def test_nothing_that_chance_brings_is_called_a_driver() -> None:
    rng = np.random.default_rng(5)
    columns = {"trial": np.arange(500.0), "time_s": rng.random(500), **{f"input a.{i}": rng.random(500) for i in range(10)}}

    class Fake:
        def column(self, name: str) -> np.ndarray:
            return columns[name]

    fake: Any = Fake()
    fake.columns = columns
    assert plots.drivers.drivers(fake, "time_s") == []


def test_every_input_has_a_source_and_drawn_ones_are_marked(study: SavedStudy) -> None:
    found = inputs(study)
    assert all(one.source for one in found)
    assert [one.path for one in found if one.drawn] == list(study.scenario.uncertain())
    by_path = {one.path: one for one in found}
    accelerator = study.scenario.cluster.accelerator
    assert by_path["cluster.accelerator.memory"].source == accelerator.sources.get("memory", accelerator.sources["default"])
    assert by_path["training.tokens"].source == "scenario file"


@pytest.mark.parametrize("plot", [name for name in plots.__all__ if name != "overlay"])
def test_every_plot_draws_a_study_in_axes_of_its_own_or_given_ones(plot: str, study: SavedStudy) -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert getattr(plots, plot)(study, ax=ax) is ax
    assert ax.has_data() or ax.texts


def test_rates_of_operators_stay_below_the_roof(study: SavedStudy) -> None:
    from simulator.performance.hardware import peak_flops_per_s

    accelerator = study.scenario.cluster.accelerator
    for o in plots.steps.operators(study):
        assert 0.0 < o.flops_per_s < min(peak_flops_per_s(accelerator, study.scenario.training.precision),
                                         o.intensity * accelerator.memory_bandwidth_bytes_per_s)


def test_the_size_of_the_scenario_is_among_others_and_takes_the_time_of_its_estimate(study: SavedStudy) -> None:
    found = plots.steps.sizes(study)
    assert len(found) > 2
    here = next(size for size in found if size.accelerators == study.scenario.cluster.accelerators)
    assert here.step_s == pytest.approx(longest(study.estimates).step_time_s)
    assert [size.accelerators for size in found] == sorted(size.accelerators for size in found)


def test_markdown_has_its_pictures_beside_it(folder: Path, tmp_path: Path) -> None:
    write_report([folder], tmp_path / "a b.md")
    page = (tmp_path / "a b.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\(([^)]+\.png)\)", page)
    assert len(names) >= 12
    assert all((tmp_path / name.replace("%20", " ")).read_bytes().startswith(b"\x89PNG") for name in names)
    assert "<script>" not in page and "[a](http" not in page
    assert all(f"## {title}" in page for title in SECTIONS)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in rows)
    write_report([folder], tmp_path / "a b.md")  # again, over the first


def test_markdown_does_not_replace_a_folder_of_others(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r_files").mkdir()
    (tmp_path / "r_files" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds more than pictures"):
        write_report([folder], tmp_path / "r.md")
    assert (tmp_path / "r_files" / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "r.md").exists()


def test_pdf_has_pages_and_an_outline(folder: Path, tmp_path: Path) -> None:
    write_report([folder], tmp_path / "r.pdf")
    data = (tmp_path / "r.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF")
    assert 6 <= len(re.findall(rb"/Type /Page\b", data)) <= 40
    assert data.count(b"/Title") >= len(SECTIONS) and len(data) < 3_000_000


def test_an_unknown_ending_and_a_missing_place_are_refused_before_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'\.docx'; allowed: \.html, \.pdf, \.md"):
        write_report([folder], tmp_path / "r.docx")
    with pytest.raises(UserError, match="there is no folder"):
        write_report([folder], tmp_path / "none" / "r.html")
    with pytest.raises(UserError, match="found 0 results folders"):
        write_report([], tmp_path / "r.html")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    copy = copy_of(folder, tmp_path)
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"lacks {re.escape(name)}"):
        load_results(copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"\x00\xff\xfe", b"[" * 100_000, b"{}"])
def test_a_damaged_file_is_a_clear_error(folder: Path, tmp_path: Path, name: str, content: bytes) -> None:
    copy = copy_of(folder, tmp_path)
    (copy / name).write_bytes(content)
    if name == "provenance.json" and content == b"{}":
        write_report([copy], tmp_path / "r.html")  # all of it is told, nothing of it is needed
        return
    with pytest.raises(UserError, match=re.escape(name)):
        load_results(copy)


def test_a_truncated_table_is_a_clear_error(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    data = (copy / "trials.parquet").read_bytes()
    for size in (4, len(data) // 2, len(data) - 1):
        (copy / "trials.parquet").write_bytes(data[:size])
        with pytest.raises(UserError, match="is damaged"):
            load_results(copy)


def test_files_of_two_studies_are_refused(folder: Path, other: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    shutil.copy(other / "trials.parquet", copy)
    with pytest.raises(UserError, match="one study"):
        load_results(copy)


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.assign(state="flying"), "state 'flying'"), (lambda t: t.assign(trial=10_000), "not those of one trial"),
    (lambda t: t.drop(columns="cause"), "lacks the column 'cause'"), (lambda t: t.assign(start_s="x"), "not of numbers"),
    (lambda t: t.iloc[::-1], "not those of one trial"), (lambda t: t.iloc[:0], "no rows")])
def test_a_timeline_that_cannot_be_is_refused(folder: Path, tmp_path: Path, change: Any, message: str) -> None:
    copy = copy_of(folder, tmp_path)
    change(pd.read_parquet(copy / "timeline.parquet")).to_parquet(copy / "timeline.parquet", index=False)
    with pytest.raises(UserError, match=message):
        load_results(copy)


@pytest.mark.parametrize("line", ["extends: /etc/passwd", "extends: ../../secret.yaml"])
def test_a_scenario_of_a_folder_names_no_other_file(folder: Path, tmp_path: Path, line: str) -> None:
    copy = copy_of(folder, tmp_path)
    with (copy / "scenario.yaml").open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(UserError, match="names another file"):
        load_results(copy)


def test_names_in_provenance_are_text_too(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    found = json.loads((copy / "provenance.json").read_text())
    found |= {"command": "<img src=x onerror=alert(1)>", "versions": {"<b>": "<i>"}, "machine": ["no", "mapping"], "time": 7}
    (copy / "provenance.json").write_text(json.dumps(found))
    write_report([copy], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<b>" not in page and "<i>" not in page


def test_the_command_writes_the_report_and_errors_exit_with_2(folder: Path, tmp_path: Path) -> None:
    from simulator.cli import app

    done = CliRunner().invoke(app, ["report", str(folder), "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.html").stat().st_size > 100_000
    assert [item.name for item in tmp_path.iterdir()] == ["r.html"]
    failed = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere"), "-o", str(tmp_path / "x.html")])
    assert isinstance(failed.exception, UserError) and "no such folder" in str(failed.exception)


def test_the_status_that_ships_is_what_is_worked_out_now() -> None:
    from simulator.validation.energy import predict_energy

    shipped = {(row.run, row.quantity): row.error for row in read_status()}
    results = predict_energy(None, Path("scenarios"))
    now = {(r.run, "energy, from configuration"): r.from_configuration_error for r in results} | {
        (r.run, "cost"): r.cost_error for r in results}
    assert {key: round(value, 4) for key, value in now.items() if value is not None} == {
        key: value for key, value in shipped.items() if key in now}


def test_numbers_are_told_apart_and_no_more() -> None:
    assert numbers(88.6, 89.1, 89.9) == ["88.6", "89.1", "89.9"]
    assert numbers(17.35, 17.35 + 1e-12) == ["17.4", "17.4"]
    assert numbers(80.4e0, 130.4e0) == ["80", "130"]
    assert digits(0.0) == "0" and digits(123456.0) == "123,456" and digits(float("nan")) == "unknown"
    assert amount(102.6e6, "cost_usd") == "103 million USD" and amount(7.776e6, "time_s") == "90.0 days"
    assert percent(1.0) == "100 %" and percent(0.9999) == "99.9 %" and percent(0.0) == "0 %" and percent(1e-5) == "under 0.1 %"
