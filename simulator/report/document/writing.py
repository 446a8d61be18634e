"""Write a report as HTML (one file), Markdown (pictures in a folder beside it) or PDF; whole or not at all."""

from __future__ import annotations

import re
import shlex
import shutil
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from simulator.errors import UserError
from simulator.files import check_place, write_whole
from simulator.report.document.model import Document

FORMS = (".html", ".pdf", ".md")
_MOST_STUDIES = 12
_DPI = 110  # of pictures beside Markdown
_MARKED = re.compile(r"([\\`*_{}\[\]|~])")
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


def check_output(file: Path) -> str:
    """Return the form of a report by its name; raise UserError for one that is not written, or where there is no place for it."""
    if file.suffix.lower() not in FORMS:
        raise UserError(f"{file}: found the ending {file.suffix!r}; allowed: {', '.join(FORMS)}")
    check_place(file)
    return file.suffix.lower()


def write_report(folders: Sequence[Path], file: Path) -> None:
    """Write the report of results folders; of several, the first in full, and all side by side.

    Raises
    ------
    UserError
        An ending that is not known, a folder that is no result or is damaged, or a place that cannot be written.
    """
    from simulator.report.document.building import build
    from simulator.report.loading import load_results

    form = check_output(file)
    if not 1 <= len(folders) <= _MOST_STUDIES:
        raise UserError(f"report: found {len(folders)} results folders; allowed: 1 to {_MOST_STUDIES}")
    command = shlex.join(["clustercost", "report", *(str(folder) for folder in folders), "-o", str(file)])
    document = build([load_results(folder) for folder in folders], command)
    if form == ".html":
        text = html(document)
        write_whole(file, lambda partial: partial.write_text(text, encoding="utf-8"))
    elif form == ".md":
        _write_markdown(document, file)
    else:
        from simulator.report.document.pdf import pdf

        data = pdf(document)
        write_whole(file, lambda partial: partial.write_bytes(data))


def _environment(*, autoescape: bool) -> Any:
    import jinja2

    return jinja2.Environment(loader=jinja2.PackageLoader("simulator.report.document"), undefined=jinja2.StrictUndefined,
                              autoescape=autoescape, trim_blocks=not autoescape, lstrip_blocks=not autoescape)


def html(document: Document) -> str:
    """Return the report as one HTML file: every name escaped, styles and pictures inside, nothing loaded, no script."""
    from simulator.montecarlo.storage import versions

    sources = {p.name: f"data:{_TYPES[p.form]};base64,{b64encode(p.render(p.form)).decode()}" for p in document.pictures()}
    environment = _environment(autoescape=True)
    environment.filters["coded"] = _coded
    page = environment.get_template("report.html.j2")
    return str(page.render(document=document, sources=sources, version=versions()["clustercost"]))


def _coded(text: str) -> Any:
    """Return text as HTML, with what stands between backticks as code."""
    from markupsafe import Markup
    from markupsafe import escape as escaped

    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else escaped(part)
                           for i, part in enumerate(text.split("`")))


def markdown(document: Document, sources: dict[str, str]) -> str:
    """Return the report as Markdown with tables; `sources` are the addresses of its pictures by name."""
    environment = _environment(autoescape=False)
    environment.filters |= {"plain": _plain, "cell": _plain, "fenced": lambda text: text.replace("```", "'''")}
    text: str = environment.get_template("report.md.j2").render(document=document, sources=sources)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _plain(text: str) -> str:
    """Return text of others in one line, in which nothing is taken for Markdown or HTML."""
    return _MARKED.sub(r"\\\1", escape(" ".join(text.split()), quote=False))


def _write_markdown(document: Document, file: Path) -> None:
    """Write the pictures to NAME_files beside the file, then the file; a folder of an earlier report is replaced."""
    folder = file.with_name(f"{file.stem}_files")
    partial = file.with_name(f".{folder.name}.partial")
    pictures = {p.name: p.render("png", _DPI) for p in document.pictures()}
    text = markdown(document, {name: f"{folder.name}/{name}.png".replace(" ", "%20") for name in pictures})
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()) or (
                folder.is_dir() and any(item.suffix != ".png" for item in folder.iterdir())):
            raise UserError(f"{folder}: is there already and holds more than pictures; allowed: another name of the report")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, data in pictures.items():
            (partial / f"{name}.png").write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    write_whole(file, lambda beside: beside.write_text(text, encoding="utf-8"))
