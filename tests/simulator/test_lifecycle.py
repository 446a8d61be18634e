"""A model's life: stages add up, variants share luck, rebound and break-even are what closed forms say."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from simulator.cli import app
from simulator.errors import UserError
from simulator.planning.lifecycle import MONTH_S, RESOURCES, STAGES, LifecycleStudy, ServingCurve, run_lifecycle
from simulator.report.lifecycle import even_words, lifecycle_figure, lifecycle_view
from simulator.scenario.lifecycle import load_lifecycle
from tests.simulator.fleets import BASE

ROOT = Path(__file__).parents[2]
LIFE: dict[str, Any] = {"name": "test life", "training": "train.yaml", "serving": "serve.yaml", "months": 6, "users": 1e5,
                        "queries_per_user": 60, "peak": 1.5, "monte_carlo": {"trials": 40, "seed": 2}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "scenarios" / "small-8gpu.yaml", tmp_path / "train.yaml")
    serve = {**BASE, "slo": {"first_token": "1 s", "per_token": "50 ms"}, "load": {**BASE["load"], "longest": 200},
             "monte_carlo": {"trials": 1, "seed": 1}}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")
    fast = {"extends": "serve.yaml", "pricing": {"price": "1 USD/h"}}
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(fast), encoding="utf-8")
    return tmp_path


def life(folder: Path, **changes: Any) -> Path:
    file = folder / "life.yaml"
    file.write_text(yaml.safe_dump({**LIFE, **changes}), encoding="utf-8")
    return file


def study(folder: Path, **changes: Any) -> LifecycleStudy:
    return run_lifecycle(load_lifecycle(life(folder, **changes)))


def test_stages_add_up_and_each_is_its_share_of_training(folder: Path) -> None:
    found = study(folder, experiments={"uniform": [0.5, 2.0]}, fine_tunes={"per_month": 2, "cost": 0.03}, growth="5 %",
                  variants=[{"name": "extra", "extra": 0.4}])
    for one in found.lives:
        for resource in RESOURCES:
            assert one.total(resource) == pytest.approx(sum(one.stages[stage, resource] for stage in STAGES))
            run = one.stages["training", resource]
            assert one.stages["fine-tunes", resource] == pytest.approx(6 * 2 * 0.03 * run)
            assert one.stages["experiments", resource] == pytest.approx(found.drawn.experiments * run)
        tunes = one.stages["fine-tunes", "cost_usd"]
        assert one.monthly_usd.sum(axis=1) == pytest.approx(one.stages["serving", "cost_usd"] + tunes)
        assert one.before_usd() + one.monthly_usd.sum(axis=1) == pytest.approx(one.total("cost_usd"))
    assert found.lives[1].stages["extra", "cost_usd"] == pytest.approx(0.4 * found.base.stages["training", "cost_usd"])
    assert 0.5 <= found.drawn.experiments.min() < found.drawn.experiments.max() <= 2.0


def test_variants_share_the_luck_of_training_and_of_users(folder: Path) -> None:
    found = study(folder, growth={"uniform": [0.0, 0.2]}, variants=[{"name": "same"}])
    base, twin = found.lives
    for key, values in base.stages.items():
        assert np.array_equal(values, twin.stages[key])
    assert found.saved(twin).mean == found.saved(twin).half == 0.0
    assert np.unique(base.stages["training", "cost_usd"]).size > 1
    assert (found.break_even(twin) == 0.0).all()


def test_prices_cover_all_that_was_spent(folder: Path) -> None:
    found = study(folder, growth="10 %")
    prices = found.prices(found.base)
    users = 1e5 * sum(1.1**month for month in range(6))
    assert prices["cost_per_user_month_usd"] * users == pytest.approx(found.base.total("cost_usd"))
    assert found.base.requests.sum(axis=1) == pytest.approx(60 * users)
    assert prices["cost_per_query_usd"] * 60 * users == pytest.approx(found.base.total("cost_usd"))
    assert prices["cost_per_token_usd"] * found.base.tokens == pytest.approx(prices["cost_per_query_usd"])


def test_half_the_price_brings_requests_by_the_elasticity(folder: Path) -> None:
    large = {"users": 1e8, "variants": [{"name": "half", "serving": "half.yaml"}]}  # so large that fleets are not rounded
    still, elastic = study(folder, **large), study(folder, **large, rebound=1.0)
    assert still.lives[1].requests == pytest.approx(still.base.requests)
    assert still.lives[1].stages["serving", "cost_usd"] == pytest.approx(still.base.stages["serving", "cost_usd"] / 2.0)
    assert (still.eaten(still.lives[1]) == 0.0).all()
    assert elastic.base.requests == pytest.approx(still.base.requests)
    assert elastic.lives[1].requests == pytest.approx(2.0 * still.base.requests, rel=1e-3)
    assert elastic.eaten(elastic.lives[1]) == pytest.approx(1.0, abs=0.01)  # twice the requests at half the price


def test_a_variant_breaks_even_when_its_saving_has_paid_for_it(folder: Path) -> None:
    found = study(folder, users=1e7, months=12, variants=[{"name": "half", "serving": "half.yaml", "extra": 20.0},
                                                          {"name": "dear", "extra": 1.0}])
    half, dear = found.lives[1:]
    behind = half.stages["extra", "cost_usd"]
    monthly = (found.base.same_usd - half.same_usd)[:, 0]
    expected = np.ceil(behind / monthly - 1e-9)
    assert (found.break_even(half) == np.where(expected > 12, np.inf, expected)).all()
    assert np.isfinite(found.break_even(half)).any()
    assert np.isinf(found.break_even(dear)).all()


def test_break_even_words() -> None:
    assert even_words(np.full(10, np.inf)) == "never"
    assert even_words(np.zeros(10)) == "from the start"
    assert even_words(np.array([3.0, 5.0, np.inf])) == "5 (3-never)"


def test_replicas_follow_straight_lines_then_proportion() -> None:
    curve = ServingCurve(np.array([10.0, 40.0]), np.array([2.0, 5.0]), np.array([100.0, 80.0]), 1000.0, 0.01, 1e-7, 50.0)
    assert curve.needed(np.array([1.0, 10.0, 20.0, 21.0, 40.0, 80.0])).tolist() == [2.0, 2.0, 3.0, 4.0, 5.0, 10.0]
    month = curve.month(np.array([20.0 * MONTH_S]), 2.0)
    assert month["cost_usd"][0] == pytest.approx(5 * 0.01 * MONTH_S)
    assert month["energy_j"][0] == pytest.approx(5 * 1000.0 * MONTH_S + 20.0 * MONTH_S * (100.0 - 20.0 / 3.0))
    assert month["carbon_kg"] == pytest.approx(1e-7 * month["energy_j"])


def test_sized_fleets_grow_with_the_load_and_cost_what_simulation_says(folder: Path) -> None:
    found = study(folder, levels=[1, 8, 30])
    curve = found.curves[str(folder / "serve.yaml")]
    assert curve.rate_per_s == pytest.approx([4.0, 32.0, 120.0], rel=0.2)
    assert (np.diff(curve.replicas) >= 0.0).all()
    assert (curve.request_j > 0.0).all()
    assert curve.replica_usd_per_s == pytest.approx(2.0 / 3600.0)


def test_the_same_seed_gives_the_same_life_and_more_trials_extend_it(folder: Path) -> None:
    some = study(folder, growth={"uniform": [0.0, 0.2]})
    more = study(folder, growth={"uniform": [0.0, 0.2]}, monte_carlo={"trials": 60, "seed": 2})
    assert np.array_equal(some.base.total("cost_usd"), more.base.total("cost_usd")[:40])


@pytest.mark.parametrize(("changes", "message"), [
    ({"training": "none.yaml"}, "none.yaml"),
    ({"serving": "train.yaml"}, "found no section 'serving'"),
    ({"training": "serve.yaml"}, "missing key 'training'"),
    ({"variants": [{"name": "base"}]}, "found 'base' again"),
    ({"levels": [2, 1]}, "found levels that do not rise"),
    ({"month": 3}, "months"),
    ({"training": "../../etc/passwd"}, "outside the folders"),
    ({"variants": [{"name": "a", "serving": "/etc/passwd"}]}, "outside the folders"),
])
def test_what_is_wrong_is_told(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(folder, **changes)


def test_a_trace_cannot_be_scaled(folder: Path) -> None:
    (folder / "trace.csv").write_text("arrival,prompt_tokens,output_tokens\n0,10,10\n", encoding="utf-8")
    serve = yaml.safe_load((folder / "serve.yaml").read_text(encoding="utf-8"))
    serve["load"] = {"trace": "trace.csv"}
    (folder / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")
    with pytest.raises(UserError, match="found a trace; allowed in a life cycle: `rate`"):
        study(folder)


def test_the_report_fits_80_columns_and_the_picture_has_two_parts(folder: Path) -> None:
    from rich.console import Console

    found = study(folder, experiments=1.0, fine_tunes={"per_month": 1}, variants=[{"name": "half", "serving": "half.yaml"}])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(lifecycle_view(found))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert all(word in text for word in ("training", "fine-tunes", "half", "pays from month", "rebound"))
    assert len(lifecycle_figure(found).axes) == 2


def test_the_command_prints_json(folder: Path) -> None:
    file = life(folder, variants=[{"name": "half", "serving": "half.yaml"}])
    done = CliRunner().invoke(app, ["lifecycle", str(file), "--json"])
    found = json.loads(done.stdout)
    assert set(found["ways"]) == {"base", "half"}
    total = found["ways"]["base"]["total"]["cost_usd"]["mean"]
    assert sum(stage["mean"] for stage in found["ways"]["base"]["stages"]["cost_usd"].values()) == pytest.approx(total)


def test_the_shipped_life_loads() -> None:
    assert [way.name for way in load_lifecycle(ROOT / "scenarios" / "lifecycle-70b.yaml").ways()] == [
        "base", "fp8", "distilled to 8B", "32B over-trained"]
