"""`prosocial`: a thin face over the package. Commands import what they need when they run, so that --help is quick."""

from pathlib import Path
from typing import Annotated

import typer

from .direg import direg_app
from .errors import plain_errors

app = typer.Typer(
    name="prosocial",
    help="Safe, humane decoding for open language models (ProSocialAlign, arXiv 2512.06515).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
arm_app = typer.Typer(help="The preference-conditioned reward model (PV-ARM).", no_args_is_help=True)
judges_app = typer.Typer(help="Judges of replies that need no network.", no_args_is_help=True)
app.add_typer(arm_app, name="arm")
app.add_typer(judges_app, name="judges")
app.add_typer(direg_app, name="direg")

DEFAULT_BETA = 1.0

BaseOption = Annotated[
    str | None,
    typer.Option(help="Base model: a directory, a .gguf file or a Hub id. Default: SmolLM2-135M-Instruct."),
]
ArmOption = Annotated[
    str | None, typer.Option(help="ARM adapter: a directory or a Hub id. Default: the released one for SmolLM2.")
]
VectorOption = Annotated[
    str | None,
    typer.Option(help="Harm vector: a file, a directory or a Hub id. Default: the released one for SmolLM2."),
]
ScaleOption = Annotated[
    float | None, typer.Option(help="λ, the multiple of it; 0 edits nothing. Default: as its sweep chose.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(help="Accept a difference to the adapter's record: base_weights, tokenizer, chat_template."),
]


@app.command()
def demo(
    base: BaseOption = None,
    arm: ArmOption = None,
    vector: VectorOption = None,
    scale: ScaleOption = None,
    beta: Annotated[float, typer.Option(help="Strength of guidance, >= 0.")] = DEFAULT_BETA,
    max_new_tokens: Annotated[int, typer.Option(help="Length of each reply, in tokens.", min=1)] = 48,
    allow_mismatch: AllowOption = None,
) -> None:
    """How a chat model answers three people in need: as it is, made safer, and guided by four preferences."""
    with plain_errors():
        from .demo import run_demo
        from .replies import safe_edit

        run_demo(base, arm, safe_edit(base, vector, scale), beta, max_new_tokens, allow_mismatch or [])


@app.command()
def generate(
    message: Annotated[str, typer.Argument(help="What the person writes.")],
    preference: Annotated[
        list[str] | None,
        typer.Option("--preference", "-p", help="empathy=0.5,helpfulness=0.5; repeat for several. Default: uniform."),
    ] = None,
    base: BaseOption = None,
    arm: ArmOption = None,
    vector: VectorOption = None,
    scale: ScaleOption = None,
    beta: Annotated[float, typer.Option(help="Strength of guidance, >= 0.")] = DEFAULT_BETA,
    safe_set: Annotated[float | None, typer.Option(help="Keep tokens with at least this share of the best.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of each reply, in tokens.", min=1)] = 96,
    temperature: Annotated[float, typer.Option(help="0 is greedy; 1 + beta has the base's own spread.", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0,
    normalize: Annotated[bool, typer.Option(help="Rescale weights that do not sum to 1.")] = False,
    allow_mismatch: AllowOption = None,
) -> None:
    """Answer one message under each preference; the replies alone go to standard output."""
    with plain_errors():
        from .generate import run_generate
        from .replies import safe_edit

        run_generate(
            message,
            preference or [],
            base=base,
            arm=arm,
            edit=safe_edit(base, vector, scale),
            beta=beta,
            safe_set=safe_set,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            normalize=normalize,
            allow_mismatch=allow_mismatch or [],
        )


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
) -> None:
    """Publish with a card, in one commit. Copies fine-tuned for a harm vector are refused."""
    with plain_errors():
        from hf_prosocial.hub import push as push_directory

        typer.echo(
            push_directory(
                directory,
                repository,
                base_model=base_model,
                licence=licence,
                private=private,
                dry_run=dry_run,
                evaluation=evaluation,
            )
        )


@app.command()
def reproduce(
    record: Annotated[Path, typer.Argument(help="A prosocial.json, beside what it describes.")],
    out: Annotated[Path | None, typer.Argument(help="Where to make it again.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare hashes, and write nothing.")] = False,
    base: Annotated[str | None, typer.Option(help="Where the base is. Default: as recorded.")] = None,
    vector: Annotated[str | None, typer.Option(help="Where the vector is. Default: as recorded.")] = None,
) -> None:
    """Compare the hashes of a published artefact, of what it was made from, and of what making it again gives."""
    with plain_errors():
        if (out is None) != check:
            raise ValueError("give either --check or a place to make it again")
        from .reproduce import run_reproduce

        run_reproduce(record, out, base, vector)


@app.command()
def evaluate(
    config: Annotated[Path, typer.Argument(help="YAML, such as recipes/smollm2_report.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of replies, scores, figures and report; gone on with.")],
) -> None:
    """Measure variants of a model on benchmarks, and write a report."""
    with plain_errors():
        from .evaluate import run_evaluate

        run_evaluate(config, out)


@judges_app.command("train")
def train_judges(
    pairs: Annotated[Path, typer.Option(help="Preference pairs that no ARM was trained on.")],
    harmful: Annotated[Path, typer.Option(help="Harmful replies: JSON lines of prompt and completion.")],
    benign: Annotated[Path, typer.Option(help="Benign replies, likewise.")],
    completions: Annotated[Path, typer.Option(help="XSTest's completions with people's labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the heads, their record and their card.")],
    base: BaseOption = None,
    layer: Annotated[list[int], typer.Option(help="Hidden states to read, 0 the embeddings.")] = [12, 18, 24, 30],  # noqa: B006
) -> None:
    """Train judges of replies: heads on a small model's hidden states."""
    with plain_errors():
        from .judges import run_train_judges

        run_train_judges(pairs, harmful, benign, completions, base, layer, out)


@app.command(
    "lm-eval",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
def lm_eval(
    options: Annotated[
        list[str] | None, typer.Argument(help="lm_eval's own; --model prosocial is known to it.")
    ] = None,
) -> None:
    """lm-evaluation-harness on a guided model: --model prosocial --model_args base=...,arm=...,preference=..."""
    with plain_errors():
        from hf_prosocial.integrations.lm_eval import run_lm_eval

        run_lm_eval(options or [])


@arm_app.command(
    "train",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
def train(
    options: Annotated[list[str] | None, typer.Argument(help="--config recipe.yaml, and options over it.")] = None,
) -> None:
    """Train an ARM: --config recipe.yaml, and any field of the recipe or of TrainingArguments as an option."""
    from .train import run_train

    with plain_errors():
        run_train(options or [])


@arm_app.command(
    "train-genarm",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
def train_genarm(
    options: Annotated[list[str] | None, typer.Argument(help="--config recipe.yaml, and options over it.")] = None,
) -> None:
    """Train the baseline GenARM, a LoRA for each objective: --config recipe.yaml, and options as of `train`."""
    from .train_genarm import run_train_genarm

    with plain_errors():
        run_train_genarm(options or [])


if __name__ == "__main__":
    app()
