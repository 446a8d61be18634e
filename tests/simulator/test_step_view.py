"""`clustercost step`: tables, the chart on the terminal, the picture, JSON."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from simulator.cli import app
from simulator.errors import UserError
from simulator.performance import estimate_steps, longest
from simulator.performance.dimensions import dimensions
from simulator.performance.schedule import BACKWARD, FORWARD, step_schedule
from simulator.report.gantt import check_plot, save_figure
from simulator.report.lanes import bytes_text, lanes, phases, seconds_text, windows
from simulator.report.step import step_json, step_picture, step_view
from simulator.report.text_gantt import busy_shares
from simulator.scenario import Scenario, load_scenario

ROOT = Path(__file__).parents[2]
NAMES = ["llama3-405b", "deepseek-v3", "gpt3-175b", "small-8gpu"]


def scenario_of(name: str) -> Scenario:
    return load_scenario(ROOT / f"scenarios/{name}.yaml").central()


def screen(name: str, width: int) -> str:
    scenario = scenario_of(name)
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(step_view(scenario, estimate_steps(scenario)))
    return capture.get()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_chart_fits_the_terminal_and_has_a_row_a_stage(name, width) -> None:
    text = screen(name, width)
    stages = scenario_of(name).training.layout.pipeline
    rows = [line for line in text.splitlines() if line.startswith("stage ")]
    assert len(rows) == min(stages, 16)
    assert ("stages between are left out" in text) == (stages > 16)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert all("░" in row or "▓" in row for row in rows)
    for word in ("Time on the mean accelerator", "By parallel dimension", "sent", "link busy", "Memory", "MFU", "blank: bubble"
                 if stages > 1 else "forward"):
        assert word in text


def test_long_steps_show_beginning_and_end_and_say_so() -> None:
    scenario = scenario_of("deepseek-v3")
    main = longest(estimate_steps(scenario))
    shown = lanes(step_schedule(scenario, main), main)
    (start, _), (_, end) = windows(shown, 100.0)
    assert start == 0.0
    assert end == shown.total_s
    assert windows(shown, 1e9) == ((0.0, shown.total_s),)
    assert "left out, where the pattern repeats" in screen("deepseek-v3", 80)


@pytest.mark.parametrize("name", NAMES)
def test_cells_hold_all_the_seconds_of_the_blocks(name) -> None:
    scenario = scenario_of(name)
    main = longest(estimate_steps(scenario))
    schedule = step_schedule(scenario, main)
    edges = np.linspace(0.0, schedule.makespan_s, 77)
    for stage in range(schedule.stages):
        shares = busy_shares(schedule, stage, edges)
        assert shares.min() >= -1e-9
        assert shares.sum(axis=0).max() <= 1.0 + 1e-9
        for kind in (FORWARD, BACKWARD):
            mine = (schedule.stage == stage) & (schedule.block == kind)
            seconds = (schedule.end_s + schedule.send_s - schedule.start_s)[mine].sum()
            assert (shares[kind] * np.diff(edges)).sum() == pytest.approx(seconds)


@pytest.mark.parametrize("name", NAMES)
def test_phases_shown_add_up_to_the_step(name) -> None:
    for estimate in estimate_steps(scenario_of(name)):
        assert sum(row.time_s for row in phases(estimate)) == pytest.approx(estimate.step_time_s)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_after_the_blocks_ends_with_the_step(name) -> None:
    scenario = scenario_of(name)
    main = longest(estimate_steps(scenario))
    shown = lanes(step_schedule(scenario, main), main)
    assert shown.total_s - shown.schedule.makespan_s == pytest.approx(main.step_time_s - shown.closed_s)
    names = [span.name for span in shown.ending]
    assert names[0] == "data-parallel exchange"


def test_json_has_bytes_by_dimension_and_the_times_of_stages() -> None:
    scenario = scenario_of("llama3-405b")
    estimates = estimate_steps(scenario)
    found = json.loads(json.dumps(step_json(scenario, estimates)))[-1]
    assert set(found["dimensions"]) == {"tensor", "pipeline", "data"}
    assert found["dimensions"]["tensor"]["sent_bytes"] == estimates[-1].step.tensor_bytes > 1e9
    assert found["dimensions"]["tensor"]["link"] == "scale-up"
    assert found["dimensions"]["data"]["link"] == "network"
    stages = found["schedule"]["stages"]
    assert len(stages) == 16
    assert sum(s["forward_s"] for s in stages) == pytest.approx(16 * estimates[-1].step.forward_s)


@pytest.mark.parametrize("name", NAMES)
def test_no_link_is_busier_than_the_step_is_long(name) -> None:
    scenario = scenario_of(name)
    for estimate in estimate_steps(scenario):
        assert all(0.0 < d.link_share < 1.0 for d in dimensions(scenario, estimate))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_is_written_in_the_format_of_its_suffix(tmp_path, suffix) -> None:
    scenario = scenario_of("small-8gpu")
    path = tmp_path / f"step{suffix}"
    save_figure(step_picture(scenario, estimate_steps(scenario)), path)
    head = path.read_bytes()[:5]
    assert head.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_shape_of_step_can_be_drawn(name) -> None:
    scenario = scenario_of(name)
    figure = step_picture(scenario, estimate_steps(scenario))
    figure.canvas.draw()


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for path, message in ((tmp_path / "step.gif", "allowed: .png, .svg, .pdf"), (tmp_path / "step", "allowed: .png"),
                          (tmp_path / "nowhere" / "step.png", "no folder"), (tmp_path / "folder.png", "is a folder"),
                          (tmp_path / "file" / "step.png", "no folder")):
        with pytest.raises(UserError, match=message):
            check_plot(path)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path) -> None:
    class Full:
        def savefig(self, path: Path, **_: object) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        save_figure(Full(), tmp_path / "step.png")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_command_draws_and_prints(tmp_path) -> None:
    path = tmp_path / "step.svg"
    done = CliRunner().invoke(app, ["step", str(ROOT / "scenarios/gpt3-175b.yaml"), "--plot", str(path)])
    assert done.exit_code == 0, done.output
    assert "stage 25" in done.output
    assert path.exists()


@pytest.mark.parametrize(("number", "text"), [(0.0, "0 B"), (999.0, "999 B"), (999.9, "1 kB"), (2.5e9, "2.5 GB"),
                                              (3e18, "3e+03 PB")])
def test_bytes_read_well(number, text) -> None:
    assert bytes_text(number) == text


@pytest.mark.parametrize(("number", "text"), [(0.0, "0 µs"), (2e-5, "20 µs"), (0.0042, "4.2 ms"), (0.5, "0.5 s"),
                                              (1234.0, "1,234 s")])
def test_seconds_read_well(number, text) -> None:
    assert seconds_text(number) == text
