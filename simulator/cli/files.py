"""What scenario files are made of: `schema`, `init`, `catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli.app import Json, app, print_json
from simulator.cli.complete import kinds, names
from simulator.errors import UserError


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="The reference of all keys, as Markdown.")] = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors; or the reference of their keys.

    Example: clustercost schema > scenario.schema.json
    """
    if markdown:
        from simulator.scenario.reference import markdown as reference

        print(reference(), end="")
        return
    from simulator.scenario import json_schema

    print_json(json_schema())


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
) -> None:
    """Write a commented starter scenario.

    Example: clustercost init my-run.yaml && clustercost run my-run.yaml
    """
    from simulator.scenario import starter

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(starter())
    except FileExistsError as error:
        raise UserError(f"{file}: exists already; choose another name") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    print(f"wrote {file}; run it with: clustercost run {file}")


@app.command()
def catalog(
    kind: Annotated[str | None, typer.Argument(
        help="One of the kinds, such as models, accelerators or sites; without it all are listed.", autocompletion=kinds)] = None,
    name: Annotated[str | None, typer.Argument(help="One record, with its sources.", autocompletion=names)] = None,
    as_json: Json = False,
) -> None:
    """List the catalog: its kinds, the names of one kind, or one record with its sources.

    Example: clustercost catalog accelerators h100-sxm-80gb
    """
    from simulator import catalog as shelves
    from simulator.errors import unknown_name

    if kind is not None and kind not in shelves.KINDS:
        raise UserError(unknown_name("kind of record", kind, shelves.KINDS))
    if kind is None:
        found: Any = {k: len(shelves.names(k)) for k in shelves.KINDS}
    elif name is None:
        found = shelves.names(kind)
    else:
        found = shelves.load(kind, name).to_file()
    if as_json:
        print_json(found)
    elif isinstance(found, list):
        print("\n".join(found))
    else:
        import yaml

        print(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), end="")
