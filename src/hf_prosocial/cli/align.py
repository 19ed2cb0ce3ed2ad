"""`prosocial align`, and where `prosocial chat` finds what it made."""

from pathlib import Path
from typing import Annotated

import typer

from hf_prosocial.errors import ProsocialError


def align(
    base: Annotated[str, typer.Argument(help="Base model: a directory, a .gguf file or a Hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of everything that is made; an unfinished run there is continued.")],
    only: Annotated[list[str] | None, typer.Option(help="Run this stage alone; may be given again.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Run this stage again, and all after it.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            help="--budget minutes|hours|full, --mixture, --raw, --data, --guide-base, --judges, --effort (YAML), "
            "--keep-harmful-copy, --seed; or --config with a file of them."
        ),
    ] = None,
) -> None:
    """Your model, in one command: data, safe checkpoint, gated vector, ARM, evaluation and cards."""
    from hf_prosocial.align import AlignRecipe, run_align
    from hf_prosocial.io import parse_fields

    given = ["--base", base, "--out", str(out), *(options or [])]
    run_align(parse_fields(given, AlignRecipe), only or [], start)


def folder_options(folder: Path) -> dict[str, str | None]:
    """Base, ARM and vector of a folder that `align` made, as `prosocial chat` takes them.

    Raises:
        FileNotFoundError: it made none there.
        ProsocialError: no ARM, yet.
    """
    from hf_prosocial.align import aligned_at

    record = aligned_at(folder).record
    made = {name: str(folder / path) for name, path in record.made.items()}
    if "arm" not in made:
        raise ProsocialError(f"{folder} has no ARM yet; `prosocial align {record.base} --out {folder}` goes on")
    found = {"base": record.base, "arm": made["arm"], "vector": made.get("gated vector")}
    return found | {"arm_base": record.settings["guide_base"]}
