"""The notebooks run from top to bottom, and are committed without what they print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.simulator import test_docs

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_CELL_S = 240  # of one cell, the first of which may compile kernels


def _id(file: Path) -> str:
    return file.stem


def test_seven_are_there() -> None:
    assert [file.stem[:2] for file in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=_id)
def test_no_output_is_committed(file: Path) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "widgets" not in notebook["metadata"]
    assert not any("attachments" in cell for cell in notebook["cells"])


@pytest.mark.parametrize("file", NOTEBOOKS, ids=_id)
def test_cells_are_short_and_links_lead_somewhere(file: Path) -> None:
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        assert len(text.splitlines()) <= 30
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#]+)", text):
                assert (file.parent / link).is_file(), link


@pytest.mark.parametrize("file", NOTEBOOKS, ids=_id)
def test_commands_that_it_names_exist(file: Path) -> None:
    for command in re.findall(r"`(clustercost [^`]+)`", file.read_text(encoding="utf-8")):
        test_docs.test_commands_and_their_options_exist(file.stem, command, False)


@pytest.mark.notebooks
@pytest.mark.filterwarnings("ignore")  # of the libraries that talk to the kernel
@pytest.mark.parametrize("file", NOTEBOOKS, ids=_id)
def test_it_runs_from_top_to_bottom(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = nbformat.read(file, as_version=4)
    # The first from the repository, as an editor may start it; the others from their folder, as Jupyter does.
    folder = ROOT if file is NOTEBOOKS[0] else file.parent
    NotebookClient(notebook, timeout=_CELL_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    # A figure or an axes shown as text is a plot that nobody sees.
    shown = [output.data["text/plain"] for output in outputs if "data" in output and set(output.data) == {"text/plain"}]
    assert not [text for text in shown if re.match(r"<(Figure|Axes)|<.* at 0x", text)]
