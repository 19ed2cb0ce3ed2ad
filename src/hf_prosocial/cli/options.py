"""What commands share that hand their options on."""

from typing import Annotated

import typer

# Options that a command does not know go on as they stand: to a recipe's parser, or to lm_eval's.
HANDED_ON = {"ignore_unknown_options": True}
RecipeOptions = Annotated[
    list[str] | None, typer.Argument(help="--config recipe.yaml, and any of its fields as an option over it.")
]
