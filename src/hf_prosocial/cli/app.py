"""The commands, but for those of `prosocial direg`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hf_prosocial import __version__
from hf_prosocial.errors import ProsocialError

from .align import align
from .data import data_app
from .direg import direg_app
from .errors import ReportingGroup
from .options import HANDED_ON, AllowOption, ArmOption, AskedBetaOption, RecipeOptions, RunsByDefault
from .talking import chat, demo, generate, page

app = typer.Typer(
    name="prosocial",
    epilog="--debug, with any command, shows the traceback of an error.",
    cls=ReportingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
arm_app = typer.Typer(help="The preference-conditioned reward model (PV-ARM).", no_args_is_help=True)
judges_app = typer.Typer(help="Judges of replies that need no network.", no_args_is_help=True)
evaluate_app = typer.Typer(
    help="Measure variants of a model, or read their replies.", cls=RunsByDefault, no_args_is_help=True
)
app.add_typer(arm_app, name="arm")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(judges_app, name="judges")
app.add_typer(direg_app, name="direg")
app.add_typer(data_app, name="data")


app.command()(demo)
app.command()(generate)
app.command()(chat)
app.command("app")(page)
app.command(context_settings=HANDED_ON)(align)


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(__version__)
        raise typer.Exit
    return asked


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Safe, humane decoding for open language models (ProSocialAlign, arXiv 2512.06515)."""


@app.command()
def push(
    directory: Annotated[str, typer.Argument(help="A safe checkpoint, an ARM adapter or a harm vector.")],
    repository: Annotated[str, typer.Argument(help="organisation/name on the Hub.")],
    base_model: Annotated[str | None, typer.Option(help="The base's id on the Hub. Default: as recorded.")] = None,
    licence: Annotated[str | None, typer.Option(help="The base's licence. Default: as in the base's card.")] = None,
    private: Annotated[bool | None, typer.Option(help="Whether a new repository is private.")] = None,
    dry_run: Annotated[str | None, typer.Option(help="Render card, record and pictures to this folder.")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="A file in eval_results of `prosocial evaluate`, for the card.")
    ] = None,
    custom_generate: Annotated[
        bool, typer.Option("--custom-generate", help="Of an ARM: let it guide without this package, by `generate`.")
    ] = False,
    space: Annotated[bool, typer.Option("--space", help="Of an ARM: make the Space of its name too.")] = False,
) -> None:
    """Publish with a card, in one commit. Copies fine-tuned for a harm vector are refused."""
    from hf_prosocial.hub import push as push_directory
    from hf_prosocial.hub import push_space, render

    page: dict[str, Any] = {"base_model": base_model, "licence": licence, "evaluation": evaluation}
    page["custom_generate"] = custom_generate
    if dry_run is None:
        typer.echo(push_directory(directory, repository, private=private, **page))
        if space:
            typer.echo(push_space(repository, private=private))
    else:
        typer.echo(render(directory, dry_run, repository, **page))


@app.command(context_settings=HANDED_ON)
def serve(
    base: Annotated[str, typer.Argument(help="Base model: a directory, a .gguf file or a Hub id.")],
    arm: ArmOption = None,
    preference: Annotated[
        str | None, typer.Option("--preference", "-p", help="Of requests that bring none. Default: uniform.")
    ] = None,
    beta: AskedBetaOption = None,
    engine: Annotated[
        Literal["vllm", "transformers"] | None, typer.Option(help="Default: vllm where it is installed.")
    ] = None,
    arm_base: Annotated[str | None, typer.Option(help="What the ARM was trained on, where that is not BASE.")] = None,
    allow_mismatch: AllowOption = None,
    flags: Annotated[list[str] | None, typer.Argument(help="After --: the engine's own flags.")] = None,
) -> None:
    """Serve a guided model over HTTP, by vLLM or `transformers serve`, with a preference for each request."""
    from hf_prosocial.serving import run_serve

    run_serve(base, arm, preference, beta, engine, allow_mismatch or [], flags or [], arm_base)


@app.command()
def reproduce(
    record: Annotated[Path, typer.Argument(help="A prosocial.json, beside what it describes.")],
    out: Annotated[Path | None, typer.Argument(help="Where to make it again.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare hashes, and write nothing.")] = False,
    base: Annotated[str | None, typer.Option(help="Where the base is. Default: as recorded.")] = None,
    vector: Annotated[str | None, typer.Option(help="Where the vector is. Default: as recorded.")] = None,
) -> None:
    """Compare the hashes of a published artefact, of what it was made from, and of what making it again gives."""
    from hf_prosocial.hub import Reproduction, check_comparisons

    from .show import show_comparisons

    if (out is None) != check:
        raise ProsocialError("give either --check or a place to make it again")
    reproduction = Reproduction(record, base, vector)
    comparisons = reproduction.check() if out is None else reproduction.make(out)
    show_comparisons(comparisons)
    check_comparisons(comparisons)


@evaluate_app.command("run", context_settings=HANDED_ON)
def evaluate(
    config: Annotated[Path, typer.Argument(help="YAML: variants, benchmarks, judges.")],
    out: Annotated[Path, typer.Option(help="Folder for all output; an unfinished run there is continued.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Any field of the recipe, as --batch_tokens 4096, over the file.")
    ] = None,
) -> None:
    """Measure variants of a model on benchmarks, and write a report; `evaluate RECIPE` means this."""
    from hf_prosocial.evaluation import evaluate as evaluate_config
    from hf_prosocial.evaluation import read_config

    from .show import show_metrics

    show_metrics(evaluate_config(read_config(config, options or []), out), out)


@evaluate_app.command("read")
def read(
    out: Annotated[Path, typer.Argument(help="Folder of a finished evaluation.")],
    benchmark: Annotated[str, typer.Option(help="Whose prompts.")],
    variant: Annotated[list[str] | None, typer.Option(help="Whose replies; may be given again. Default: all.")] = None,
    count: Annotated[int | None, typer.Option(help="Of prompts. Default: all.", min=2)] = None,
    seed: Annotated[int, typer.Option(help="Of the order.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(help="A CSV in place of the terminal: written, then taken back.")
    ] = None,
) -> None:
    """Read replies side by side, unnamed, and say of each whether it answers or turns the person away."""
    from hf_prosocial.evaluation import ReadingPlan, read_replies

    plan = ReadingPlan(benchmark, tuple(variant or ()), count, seed)
    typer.echo(read_replies(out, plan, typer.echo, lambda letter: typer.prompt(letter, prompt_suffix="> "), sheet))


@judges_app.command("train", context_settings=HANDED_ON, add_help_option=False)
def train_judges(options: RecipeOptions = None) -> None:
    """Train judges of replies: --config recipe.yaml, and any field of the recipe as an option."""
    from hf_prosocial.judges import train_judges_from

    typer.echo(train_judges_from(options or []))


@app.command("lm-eval", context_settings=HANDED_ON, add_help_option=False)
def lm_eval(
    options: Annotated[
        list[str] | None, typer.Argument(help="lm_eval's own; --model prosocial is known to it.")
    ] = None,
) -> None:
    """lm-evaluation-harness on a guided model: --model prosocial --model_args base=...,arm=...,preference=..."""
    from hf_prosocial.integrations import run_lm_eval

    run_lm_eval(options or [])


@arm_app.command("train", context_settings=HANDED_ON, add_help_option=False)
def train(options: RecipeOptions = None) -> None:
    """Train an ARM: --config recipe.yaml, and any field of the recipe or of TrainingArguments as an option."""
    from hf_prosocial.arm import train_arm_from
    from hf_prosocial.hub import write_arm_card

    directory = train_arm_from(options or [])
    if directory is not None:
        write_arm_card(directory)


@arm_app.command("train-genarm", context_settings=HANDED_ON, add_help_option=False)
def train_genarm(options: RecipeOptions = None) -> None:
    """Train the baseline GenARM, a LoRA for each objective: --config recipe.yaml, and options as of `train`."""
    from hf_prosocial.genarm import train_genarm_from

    train_genarm_from(options or [])


if __name__ == "__main__":
    app()
