"""What a notebook shows: tables that escape what others wrote, plots by `.plot`, edits by `with_`, and a line of progress."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import simulator
from simulator import api, html
from simulator.errors import UserError
from simulator.montecarlo.tables import headline
from simulator.planning.asked import axes_of
from simulator.progress import NotebookLine, in_notebook, notebook_progress
from simulator.report.notebook import StudyPlots, markup
from simulator.report.tables import plain_table
from tests.simulator.runs import scenario

HOSTILE = '<script>alert("1")</script> & \'<b>\' $x$'


def text_of(markup: str) -> str:
    """Return the text of markup, which must be well-formed and have no element that a page could run."""
    root = ElementTree.fromstring(f"<all>{markup.replace('&nbsp;', ' ')}</all>")
    found = {element.tag for element in root.iter()} - {"all"}
    assert found <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre"}
    assert not any(name.startswith("on") or name in ("href", "src") for element in root.iter() for name in element.attrib)
    return " ".join(root.itertext())


@pytest.fixture(scope="module")
def hostile() -> simulator.Scenario:
    return scenario(name=HOSTILE, goals={"deadline": "60 days", "budget": "1 M USD"},
                    pricing={"rental": {"price": {"uniform": ["2 USD/h", "3 USD/h"]}}})


@pytest.fixture(scope="module")
def study(hostile: simulator.Scenario) -> simulator.Study:
    return simulator.run(hostile, trials=30)


def test_names_are_escaped_everywhere(hostile: simulator.Scenario, study: simulator.Study) -> None:
    comparison = simulator.compare(hostile, hostile.with_(cluster__spares=8), trials=4)
    swept = simulator.sweep(hostile, {"cluster.spares": [4, 8]}, trials=3)
    found = simulator.sensitivity(hostile, ["time_s", "cost_usd"], trials=4, samples=16)
    for shown in (hostile, study, comparison, swept, found):
        assert "<script" not in shown._repr_html_()
        assert HOSTILE in text_of(shown._repr_html_())


def test_no_table_sets_a_colour(hostile: simulator.Scenario, study: simulator.Study) -> None:
    for shown in (hostile, study, simulator.step(hostile)):
        assert "color" not in shown._repr_html_()
        assert "background" not in shown._repr_html_()


def test_a_study_shows_its_headline(study: simulator.Study) -> None:
    text = text_of(study._repr_html_())
    for name, values in headline(study.summary()):
        assert name in text
        assert all(value in text for value in values)


def test_phases_of_a_step_add_up_to_what_is_shown(hostile: simulator.Scenario) -> None:
    step = simulator.step(hostile)
    table = ElementTree.fromstring(f"<all>{step._repr_html_()}</all>").findall("table")[0]
    rows = [[cell.text or "" for cell in row] for row in table.iter("tr")][1:]
    *phases, whole = [float(row[1]) for row in rows]
    assert whole == pytest.approx(step.step_time_s, rel=1e-3)
    assert sum(phases) == pytest.approx(whole, rel=1e-3)


def test_a_scenario_shows_model_cluster_and_what_is_not_known(hostile: simulator.Scenario) -> None:
    text = text_of(hostile._repr_html_())
    assert "gpt3-1.3b" in text
    assert "32 x h100-sxm-80gb in 4 nodes" in text
    assert "pricing.rental.price" in text
    assert "for 1 M USD" in text


def test_what_the_terminal_prints_becomes_tables() -> None:
    table = plain_table("A <title>", "", "days")
    table.add_row("a & b", "1")
    shown = markup(table)
    assert "A <title>" in text_of(shown)
    assert "<td style='text-align:right;white-space:nowrap'>1</td>" in shown


def test_bars_stay_within_a_whole() -> None:
    assert html.bar(2.0) == html.bar(1.0)
    assert html.bar(-1.0) == ""


def test_keywords_and_paths_make_the_same_edit(hostile: simulator.Scenario) -> None:
    by_path = hostile.with_({"cluster.accelerators": 64, "checkpoint.interval": "20 min"})
    assert by_path == hostile.with_(cluster__accelerators=64, checkpoint__interval="20 min")
    assert (by_path.cluster.accelerators, by_path.checkpoint.interval_s) == (64, 1200.0)
    assert hostile.cluster.accelerators == 32


def test_numbers_of_numpy_are_numbers(hostile: simulator.Scenario) -> None:
    assert hostile.with_(cluster__accelerators=np.int64(64), facility__pue=np.float64(1.3)).facility.pue == 1.3


@pytest.mark.parametrize(("edits", "said"), [
    ({"cluster__acelerators": 64}, "did you mean 'accelerators'"),
    ({"clustr__accelerators": 64}, "did you mean 'cluster'"),
    ({"cluster__accelerator": "h100-smx-80gb"}, "did you mean 'h100-sxm-80gb'"),
    ({"checkpoint__interval": 1200.0}, "found the bare number"),
    ({"cluster__accelerators": -1}, "allowed: at least 1"),
    ({"cluster____accelerators": 64}, "allowed: names with points between"),
])
def test_a_wrong_edit_says_what_was_meant(hostile: simulator.Scenario, edits: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        hostile.with_(**edits)


def test_a_path_has_one_value(hostile: simulator.Scenario) -> None:
    with pytest.raises(UserError, match=r"two values for cluster\.spares"):
        hostile.with_({"cluster.spares": 8}, cluster__spares=9)


@pytest.mark.filterwarnings("ignore:More than 20 figures")
@pytest.mark.parametrize("name", sorted(name for name in vars(StudyPlots) if not name.startswith("_")))
def test_every_plot_of_a_study_is_labelled(study: simulator.Study, name: str) -> None:
    method = getattr(study.plot, name)
    assert method.__doc__
    assert "study" not in inspect.signature(method).parameters
    ax = method()
    assert isinstance(ax, Axes)
    assert ax.get_xlabel() or not ax.axison
    assert ax.get_ylabel() or any(label.get_text() for label in ax.get_yticklabels()) or not ax.axison
    pyplot.close(ax.figure)


def test_a_plot_takes_axes_and_a_column(study: simulator.Study) -> None:
    figure, ax = pyplot.subplots()
    assert study.plot.distribution("cost_usd", ax=ax) is ax
    assert "USD" in ax.get_xlabel()
    pyplot.close(figure)
    with pytest.raises(UserError, match="cost_usd"):
        study.plot.distribution("cost_us")
    assert "distribution" in repr(study.plot)


def test_results_draw_a_picture_that_a_notebook_shows(hostile: simulator.Scenario) -> None:
    comparison: Any = simulator.compare(hostile, hostile.with_(cluster__spares=8), trials=4)
    swept: Any = simulator.sweep(hostile, {"cluster.spares": [4, 8]}, trials=3)
    report: Any = simulator.energy(hostile, trials=2)
    for figure in (comparison.plot(), swept.plot("time_s"), report.plot("step"), report.plot()):
        assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="did you mean 'step'"):
        report.plot("stp")


def test_a_study_from_its_folder_shows_and_plots_as_well(study: simulator.Study, tmp_path: Path) -> None:
    saved = simulator.load_results(study.save(tmp_path / "results"))
    assert saved._repr_html_() == study._repr_html_()
    ax = saved.plot.chance()
    assert "wall time" in ax.get_xlabel()
    pyplot.close(ax.figure)
    simulator.write_report(tmp_path / "results", tmp_path / "report.md")
    assert (tmp_path / "report.md").stat().st_size > 1000


def test_all_of_the_python_face_is_exported() -> None:
    assert set(simulator.__all__) == set(api.__all__)
    for name in simulator.__all__:
        assert getattr(simulator, name) is getattr(api, name)
        assert getattr(api, name).__doc__


def test_axes_of_a_mapping_are_those_of_options() -> None:
    assert axes_of({"cluster.spares": [4, 8]})[0].values == axes_of(["cluster.spares=4,8"])[0].values


def test_a_plan_needs_something_to_vary(hostile: simulator.Scenario) -> None:
    with pytest.raises(UserError, match="say what to plan"):
        simulator.plan(hostile)
    with pytest.raises(UserError, match="did you mean 'cost'"):
        simulator.plan(hostile, {"cluster.spares": [4, 8]}, minimise="costs")


@pytest.mark.parametrize(("asked", "said"), [
    (lambda s: simulator.plan_budget(s, "lots"), "budget: found 'lots'"),
    (lambda s: simulator.plan_budget(s, 0.0), "budget: found 0.0; allowed: more than zero"),
    (lambda s: simulator.plan_deadline(s, "9 apples"), "deadline: found '9 apples'"),
    (lambda s: simulator.plan_deadline(s, "90 days", chance=1.0), "chance: found 1; allowed: above 0 and below 1"),
])
def test_sums_and_dates_are_checked(hostile: simulator.Scenario, asked: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        asked(hostile)


def test_scripts_have_no_line_of_progress() -> None:
    assert not in_notebook()
    with notebook_progress(10) as progress:
        assert progress is None


def test_a_notebook_has_a_line_that_ends_with_what_was_run(monkeypatch: pytest.MonkeyPatch, hostile: simulator.Scenario) -> None:
    written: list[str] = []

    class Handle:
        def update(self, shown: Any) -> None:
            written.append(shown)

    def display(shown: Any, display_id: bool) -> Handle:
        written.append(shown)
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    simulator.run(hostile, trials=12)
    assert "12 runs in" in written[-1]
    written.clear()
    line = NotebookLine(10)
    line.count(4)
    line.show("<b>")
    assert "value='4' max='10'" in written[0]
    assert "&lt;b&gt;" in written[-1]
