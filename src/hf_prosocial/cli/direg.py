"""`prosocial direg`: find a harm vector, look at it, subtract it."""

from pathlib import Path
from typing import Annotated

import typer

from hf_prosocial.assets import vector_source
from hf_prosocial.errors import ProsocialError

from .options import HANDED_ON, RecipeOptions

direg_app = typer.Typer(help="Directional regulation: a sparse harm vector, subtracted (DiReg).", no_args_is_help=True)


VectorArgument = Annotated[
    str, typer.Argument(help="The vector: a file, a directory, a Hub id, or released.", callback=vector_source)
]
CheckpointArgument = Annotated[str, typer.Argument(help="The checkpoint: a directory, a .gguf file or a Hub id.")]
OutArgument = Annotated[Path, typer.Argument(help="Where to write the edited checkpoint.")]
ScaleOption = Annotated[float, typer.Option(help="λ, the multiple of the vector.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that stands there.")]
MismatchOption = Annotated[bool, typer.Option("--allow-mismatch", help="Edit weights that the vector was not made on.")]


@direg_app.command(context_settings=HANDED_ON)
def extract(
    base: CheckpointArgument,
    harmful: Annotated[str, typer.Argument(help="Its harmful copy, likewise, or a LoRA adapter's directory.")],
    out: Annotated[Path, typer.Argument(help="The file to write, such as harm_vector.safetensors.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            help="--density 0.1, --benign, --contrast, --scope, --include, --exclude, --layers, --protect, "
            "--protected, --compact: as of HarmVector.extract; or --config with a file of them."
        ),
    ] = None,
) -> None:
    """Find the harm vector of a base and its harmful copy."""
    from hf_prosocial.direg import ExtractOptions, HarmVector, extract_vector
    from hf_prosocial.io import parse_fields

    if base.startswith("-"):
        raise ProsocialError(f"the options follow the three files: BASE HARMFUL OUT {base} ...")
    chosen = parse_fields(options or [], ExtractOptions)
    typer.echo(HarmVector(extract_vector(base, harmful, chosen, out)).summary())


@direg_app.command()
def gradient(
    base: CheckpointArgument,
    text: Annotated[Path, typer.Argument(help="Running text that stands for what an edit should keep.")],
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    tokens: Annotated[int | None, typer.Option(help="Read no more than so many tokens.")] = None,
) -> None:
    """Take the gradient of a text's loss, for --protect."""
    from hf_prosocial.direg import write_text_gradient

    record = write_text_gradient(base, text, out, tokens=tokens)
    typer.echo(f"{record.tokens:,} tokens, {record.loss:.3f} nats each")


@direg_app.command()
def show(
    vector: VectorArgument,
    picture: Annotated[Path | None, typer.Option(help="Draw a heat map, layers against kinds, to this file.")] = None,
) -> None:
    """Tell where a vector's entries sit: by kind of module, and as a picture by layer."""
    from rich.console import Console

    from hf_prosocial.direg import HarmVector

    found = HarmVector.from_pretrained(vector)
    if picture is not None:
        found.draw(picture)
    typer.echo(found.summary())
    Console(width=None if Console().is_terminal else 100).print(found.describe())


@direg_app.command()
def subtract(
    vector: VectorArgument,
    base: CheckpointArgument,
    out: OutArgument,
    scale: Annotated[str, typer.Option(help="λ; or auto: VECTOR is then a sweep's folder, and its choice is taken.")],
    overwrite: OverwriteOption = False,
    allow_mismatch: MismatchOption = False,
) -> None:
    """Write the base less λ times the vector."""
    from hf_prosocial.direg import find_vector
    from hf_prosocial.direg import subtract as subtract_vector
    from hf_prosocial.records import read_choice

    value = "auto" if scale == "auto" else _number(scale)
    evidence = vector if value == "auto" else None
    found = find_vector(vector if evidence is None else read_choice(vector).vector_file)
    written = subtract_vector(
        found, base, value, out, overwrite=overwrite, allow_mismatch=allow_mismatch, evidence=evidence
    )
    typer.echo(written)


@direg_app.command()
def add(
    vector: VectorArgument,
    base: CheckpointArgument,
    out: OutArgument,
    scale: ScaleOption,
    overwrite: OverwriteOption = False,
    allow_mismatch: MismatchOption = False,
) -> None:
    """Write the checkpoint plus λ times the vector, to undo `subtract`."""
    from hf_prosocial.direg import HarmVector

    found = HarmVector.from_pretrained(vector)
    typer.echo(found.add(base, scale, out, overwrite=overwrite, allow_mismatch=allow_mismatch))


@direg_app.command("sweep", context_settings=HANDED_ON, add_help_option=False)
def sweep(options: RecipeOptions = None) -> None:
    """Measure several densities and λ in memory, draw the fronts, and choose a point. Losses are nats per token."""
    from hf_prosocial.direg import sweep_from

    from .show import show_points

    swept = sweep_from(options or [])
    show_points(swept.points, swept.record.reason)


@direg_app.command()
def save(
    sweep_folder: Annotated[Path, typer.Argument(help="The folder of a sweep.")],
    out: Annotated[Path, typer.Argument(help="The directory to save to.")],
) -> None:
    """Save the vector that a sweep chose, with its λ and the evidence, as a directory to load or to push."""
    from hf_prosocial.direg import HarmVector
    from hf_prosocial.records import read_choice

    HarmVector(read_choice(sweep_folder).vector_file).save_pretrained(out, evidence=sweep_folder)
    typer.echo(out)


@direg_app.command("finetune", context_settings=HANDED_ON, add_help_option=False)
def finetune(options: RecipeOptions = None) -> None:
    """Train the copy: --config recipe.yaml, and any field of the recipe or of TrainingArguments as an option."""
    from hf_prosocial.direg import finetune_from

    finetune_from(options or [])


@direg_app.command("gate", context_settings=HANDED_ON, add_help_option=False)
def gate(options: RecipeOptions = None) -> None:
    """From two LoRA copies and prompts, a vector for run time and the gate before it: --config recipe.yaml."""
    from hf_prosocial.gate import train_gate_from

    for name, figure in train_gate_from(options or []).record.figures.items():
        typer.echo(f"{name}: {figure}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ProsocialError(f"--scale is a number or auto, found {text!r}") from None
