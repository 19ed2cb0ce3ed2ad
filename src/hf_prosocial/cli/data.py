"""`prosocial data`: build what models are trained and measured on, and show it."""

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Public data, built from a mixture: pairs, completions, prompts.", no_args_is_help=True)
MixtureOption = Annotated[str, typer.Option(help="One of this package's (default, hub), or a YAML file.")]


@data_app.command()
def build(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    mixture: MixtureOption = "default",
    raw: Annotated[
        Path | None, typer.Option(help="A folder with the sources' files. Default: download them, and keep them.")
    ] = None,
) -> None:
    """Fetch, convert, and split by group, so that nothing held out stands in training."""
    from hf_prosocial.data import build_data, not_to_hand_on, read_mixture

    built = build_data(out, mixture, raw)
    for name in not_to_hand_on(read_mixture(mixture)):
        typer.echo(f"{name}: its licence forbids to hand its rows on; keep {built} to yourself", err=True)
    typer.echo(built)


@data_app.command()
def show(
    folder: Annotated[Path | None, typer.Argument(help="A built folder. Default: the mixture's sources.")] = None,
    mixture: MixtureOption = "default",
) -> None:
    """Sources, licences, pairs by objective, what was left out and why, and what is in both splits."""
    from hf_prosocial.data import describe_data, mixture_summary, read_mixture

    from .show import show_built_data, show_table

    if folder is None:
        show_table(("source", "licence", "files", "for"), mixture_summary(read_mixture(mixture)))
    else:
        show_built_data(describe_data(folder))
