"""What commands share: options that are handed on, and a subcommand that need not be named."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# Options that a command does not know go on as they stand: to a recipe's parser, or to lm_eval's.
HANDED_ON = {"ignore_unknown_options": True}
RecipeOptions = Annotated[
    list[str] | None, typer.Argument(help="--config recipe.yaml, and any of its fields as an option over it.")
]


class RunsByDefault(TyperGroup):
    """Commands of which "run" need not be named: `evaluate recipe.yaml` is `evaluate run recipe.yaml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, "run" put before them where they name no command. (click fixes this signature.)"""
        named = not args or args[0] in {*self.commands, "--help"}
        return super().parse_args(ctx, args if named else ["run", *args])


BaseOption = Annotated[
    str | None,
    typer.Option(help="Base model: a directory, a .gguf file or a Hub id. Default: SmolLM2-135M-Instruct."),
]
ArmOption = Annotated[
    str | None, typer.Option(help="ARM adapter: a directory or a Hub id. Default: the released one for SmolLM2.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(help="Accept a difference to the adapter's record: base_weights, tokenizer, chat_template."),
]
VectorOption = Annotated[
    str | None,
    typer.Option(help="Harm vector, gated or not: a directory, a Hub id, released. Default: SmolLM2's, gated."),
]
ScaleOption = Annotated[float | None, typer.Option(help="λ, the multiple of it; 0 for none. Default: the vector's.")]
AskedBetaOption = Annotated[float | None, typer.Option(help="Strength of guidance. Default: 1 with -p, else 0.")]
BetaOption = Annotated[float, typer.Option(help="Strength of guidance, >= 0.")]
LengthOption = Annotated[int, typer.Option(help="Length of each reply, in tokens.", min=1)]
