"""Recipes: a YAML file and options over it, parsed into dataclasses."""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from transformers import HfArgumentParser, TrainingArguments

Recipe = TypeVar("Recipe")
Arguments = TypeVar("Arguments", bound=TrainingArguments)


def parse_recipe(arguments: list[str], recipe: type[Recipe], training: type[Arguments]) -> tuple[Recipe, Arguments]:
    """Read `--config FILE` first, then the other options over it.

    Raises:
        ValueError: a recipe that is not a mapping, or has a key that nothing reads.
    """
    arguments = list(arguments)
    if "--config" in arguments:
        position = arguments.index("--config")
        if position + 1 == len(arguments):
            raise ValueError("--config needs a file")
        path = arguments[position + 1]
        arguments[position : position + 2] = []
        arguments = _as_options(path) + arguments
    kinds: Any = (recipe, training)
    parsed: Any = HfArgumentParser(kinds).parse_args_into_dataclasses(arguments)
    return parsed


def resume_asked(arguments: list[str]) -> tuple[list[str], bool]:
    """The other options, and whether `--resume` was among them."""
    return [option for option in arguments if option != "--resume"], "--resume" in arguments


def changed(training: TrainingArguments) -> dict[str, Any]:
    """The training arguments that differ from their defaults, and the seed."""
    values = training.to_dict()
    defaults = type(training)(output_dir=training.output_dir).to_dict()
    return {name: value for name, value in values.items() if value != defaults.get(name) or name == "seed"}


def _as_options(path: str) -> list[str]:
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `option: value` lines, found {type(content).__name__}")
    options: list[str] = []
    for name, value in content.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        options += [f"--{name}", *map(str, values)]
    return options
