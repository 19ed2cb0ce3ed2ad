"""`prosocial direg`: find a harm vector, look at it, subtract it."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import plain_errors

direg_app = typer.Typer(help="Directional regulation: a sparse harm vector, subtracted (DiReg).", no_args_is_help=True)

VectorArgument = Annotated[str, typer.Argument(help="The vector: a file, a directory or a Hub id.")]
CheckpointArgument = Annotated[str, typer.Argument(help="The checkpoint: a directory or a Hub id.")]
OutArgument = Annotated[Path, typer.Argument(help="Where to write the edited checkpoint.")]
ScaleOption = Annotated[float, typer.Option(help="λ, the multiple of the vector.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that stands there.")]
ProtectOption = Annotated[
    Path | None, typer.Option(help="A text's gradient; entries that the text needs most are left out.")
]
ProtectedOption = Annotated[float, typer.Option(help="Share of the entries that --protect leaves out.")]
CompactOption = Annotated[bool, typer.Option("--compact", help="Values in fp16, in a file of half the size.")]
MismatchOption = Annotated[bool, typer.Option("--allow-mismatch", help="Edit weights that the vector was not made on.")]


@direg_app.command()
def extract(
    base: Annotated[str, typer.Argument(help="The base: a checkpoint directory or a Hub id.")],
    harmful: Annotated[str, typer.Argument(help="Its harmful copy, likewise, or a LoRA adapter's directory.")],
    out: Annotated[Path, typer.Argument(help="The file to write, such as harm_vector.safetensors.")],
    density: Annotated[float, typer.Option(help="Share of the entries to keep, in (0, 1].")] = 0.10,
    benign: Annotated[str | None, typer.Option(help="A copy fine-tuned on benign replies: the contrast.")] = None,
    contrast: Annotated[float, typer.Option(help="How much of the benign copy's difference to take away.")] = 1.0,
    scope: Annotated[str, typer.Option(help="One threshold over the model, or in each tensor.")] = "model",
    include: Annotated[list[str] | None, typer.Option(help="Tensors to look at: a shell-style pattern.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Tensors to leave out: a shell-style pattern.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="A layer to keep to; repeat for several.")] = None,
    protect: ProtectOption = None,
    protected: ProtectedOption = 0.001,
    compact: CompactOption = False,
) -> None:
    """Find the harm vector of a base and its harmful copy."""
    with plain_errors():
        from hf_prosocial.direg import HarmVector, Scope

        scopes: dict[str, Scope] = {"model": "model", "tensor": "tensor"}
        if scope not in scopes:
            raise ValueError(f"--scope is model or tensor, found {scope!r}")
        vector = HarmVector.extract(
            base,
            harmful,
            density,
            benign=benign,
            contrast=contrast,
            scope=scopes[scope],
            include=include or ("*",),
            exclude=exclude or (),
            layers=layer,
            protect=protect,
            protected=protected,
            compact=compact,
            out=out,
        )
        typer.echo(vector.summary())


@direg_app.command()
def gradient(
    base: CheckpointArgument,
    text: Annotated[Path, typer.Argument(help="Running text that stands for what an edit should keep.")],
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    tokens: Annotated[int | None, typer.Option(help="Read no more than so many tokens.")] = None,
) -> None:
    """Take the gradient of a text's loss, for --protect."""
    with plain_errors():
        from hf_prosocial.direg.gradient import write_text_gradient

        record = write_text_gradient(base, text, out, tokens=tokens)
        typer.echo(f"{record.tokens:,} tokens, {record.loss:.3f} nats each")


@direg_app.command()
def show(
    vector: VectorArgument,
    picture: Annotated[Path | None, typer.Option(help="Draw a heat map, layers against kinds, to this file.")] = None,
) -> None:
    """Tell where a vector's entries sit: by kind of module, and as a picture by layer."""
    with plain_errors():
        from rich.console import Console

        from hf_prosocial.direg import HarmVector

        found = HarmVector.from_pretrained(vector)
        typer.echo(found.summary())
        Console(width=None if Console().is_terminal else 100).print(found.describe())
        if picture is not None:
            found.draw(picture)


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
    with plain_errors():
        from hf_prosocial.direg.apply import subtract as subtract_vector
        from hf_prosocial.direg.choice import read_choice
        from hf_prosocial.direg.vector_file import find_vector

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
    with plain_errors():
        from hf_prosocial.direg import HarmVector

        found = HarmVector.from_pretrained(vector)
        typer.echo(found.add(base, scale, out, overwrite=overwrite, allow_mismatch=allow_mismatch))


@direg_app.command()
def sweep(
    base: CheckpointArgument,
    harmful: Annotated[str, typer.Argument(help="Its harmful copy, or a LoRA adapter's directory.")],
    out: Annotated[Path, typer.Argument(help="Folder for vectors, points, pictures and the choice; resumed if there.")],
    harmful_rows: Annotated[Path, typer.Option(help="JSON lines of prompt, completion: replies to make dearer.")],
    benign_rows: Annotated[Path, typer.Option(help="The same, of replies to keep.")],
    text: Annotated[Path, typer.Option(help="Running text to keep the loss on.")],
    questions: Annotated[Path, typer.Option(help="Multiple-choice questions to keep the accuracy on.")],
    benign: Annotated[
        str | None, typer.Option(help="A benign copy: contrastive vectors beside the plain ones.")
    ] = None,
    contrast: Annotated[
        list[float] | None,
        typer.Option(help="How much of the benign copy to take away; repeatable. Default: 1."),
    ] = None,
    protect: ProtectOption = None,
    protected: ProtectedOption = 0.001,
    compact: CompactOption = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="plain, contrast, ...-protected; repeat for several. Default: all given.")
    ] = None,
    density: Annotated[list[float] | None, typer.Option(help="Repeat for several. Default: 0.02, 0.1, 1.")] = None,
    scale: Annotated[list[float] | None, typer.Option(help="λ; repeat for several. Default: 0.1 to 2.")] = None,
    held_out: Annotated[float, typer.Option(help="Share of the prompts that the copies did not see.")] = 0.1,
    text_limit: Annotated[float, typer.Option(help="What the text's loss may rise by.")] = 0.03,
    benign_limit: Annotated[float, typer.Option(help="What benign replies' loss may rise by.")] = 0.05,
    safe_prompts: Annotated[
        Path | None, typer.Option(help="JSON lines of prompt, label: those labelled safe, not to be refused.")
    ] = None,
    refusal_limit: Annotated[float, typer.Option(help="What the share of them that is refused may rise by.")] = 0.05,
    text_tokens: Annotated[int | None, typer.Option(help="Read no more than so many tokens of the text.")] = None,
    question_count: Annotated[int | None, typer.Option(help="Ask no more than so many questions.")] = None,
    prompt_count: Annotated[int | None, typer.Option(help="Answer no more than so many safe prompts.")] = None,
) -> None:
    """Measure several densities and λ in memory, draw the fronts, and choose a point. Losses are nats per token."""
    with plain_errors():
        from hf_prosocial.evaluation.held_out import HeldOutData

        from .sweep import run_sweep

        run_sweep(
            base,
            harmful,
            benign,
            out,
            contrasts=contrast or [1.0],
            protect=protect,
            protected=protected,
            compact=compact,
            kinds=kind,
            densities=density or [0.02, 0.1, 1.0],
            scales=scale or [0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0],
            data=HeldOutData(
                harmful_rows,
                benign_rows,
                text,
                questions,
                held_out=held_out,
                text_tokens=text_tokens,
                question_count=question_count,
                safe_prompts=safe_prompts,
                prompt_count=prompt_count,
            ),
            text_limit=text_limit,
            benign_limit=benign_limit,
            refusal_limit=refusal_limit,
        )


@direg_app.command()
def save(
    sweep_folder: Annotated[Path, typer.Argument(help="The folder of a sweep.")],
    out: Annotated[Path, typer.Argument(help="The directory to save to.")],
) -> None:
    """Save the vector that a sweep chose, with its λ and the evidence, as a directory to load or to push."""
    with plain_errors():
        from hf_prosocial.direg import HarmVector
        from hf_prosocial.direg.choice import read_choice

        HarmVector(read_choice(sweep_folder).vector_file).save_pretrained(out, evidence=sweep_folder)
        typer.echo(out)


@direg_app.command("finetune", context_settings={"ignore_unknown_options": True}, add_help_option=False)
def finetune(
    options: Annotated[list[str] | None, typer.Argument(help="--config recipe.yaml, and options over it.")] = None,
) -> None:
    """Train the copy: --config recipe.yaml, and any field of the recipe or of TrainingArguments as an option."""
    with plain_errors():
        from .finetune import run_finetune

        run_finetune(options or [])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--scale is a number or auto, found {text!r}") from None
