"""Recipes: one parser for a YAML file and options over it, into dataclasses."""

import argparse
import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError
from transformers import HfArgumentParser, TrainingArguments

from hf_prosocial.errors import ProsocialError

from .text import read_text

Recipe = TypeVar("Recipe")
Arguments = TypeVar("Arguments", bound=TrainingArguments)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: argparse prints every option of TrainingArguments first."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found."""
        raise ProsocialError(f"{message}; --help lists the options")


class _TrainingParser(_Parser, HfArgumentParser):
    pass


def parse_recipe(arguments: Sequence[str], recipe: type[Recipe], training: type[Arguments]) -> tuple[Recipe, Arguments]:
    """A recipe of this package's and transformers' training arguments, from `--config FILE` and options over it.

    Args:
        arguments: `--config FILE` or `--config=FILE`, and `--field value`. A field that is null is None.
        recipe: our dataclass; its values are checked by their types.
        training: `TrainingArguments` or a subclass.

    Raises:
        OSError: no such file.
        ProsocialError: a file that is not a mapping, a key that nothing reads, or a value that cannot be.
    """
    parser = _TrainingParser(cast(Any, training), **_about(recipe))
    content = _parsed(arguments, parser, recipe)
    fields = {field.name for field in dataclasses.fields(training) if field.init}
    return validated(recipe, {name: content[name] for name in _names(recipe) if name in content}), training(
        **{name: value for name, value in content.items() if name in fields}
    )


def parse_fields(arguments: Sequence[str], recipe: type[Recipe]) -> Recipe:
    """One of our dataclasses alone, from `--config FILE` and options over it; errors as of `parse_recipe`."""
    return validated(recipe, given_fields(arguments, recipe))


def given_fields(arguments: Sequence[str], recipe: type) -> dict[str, Any]:
    """What a file and options say of a dataclass's fields, unchecked; arguments and errors as of `parse_recipe`."""
    return _parsed(arguments, _Parser(**_about(recipe)), recipe)


def validated(recipe: type[Recipe], content: dict[str, Any], where: str = "the options") -> Recipe:
    """One of our dataclasses from its fields.

    Raises:
        ProsocialError: a value that cannot be; every one of them is named.
    """
    try:
        return TypeAdapter(recipe).validate_python(content)
    except ValidationError as error:
        found = faults_of(error)
        raise ProsocialError(f"{where}: {found}") from error


def faults_of(error: ValidationError) -> str:
    """What pydantic found, as our own errors say it: each with the field that it is in."""
    said = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
    return "; ".join(f"{place}: {message}" if place else message for place, message in said)


def resume_asked(arguments: list[str]) -> tuple[list[str], bool]:
    """The other options, and whether `--resume` was among them."""
    return [option for option in arguments if option != "--resume"], "--resume" in arguments


def changed(training: TrainingArguments) -> dict[str, Any]:
    """The training arguments that differ from their defaults, and the seed."""
    values = training.to_dict()
    # On the same device: other arguments would begin accelerate's state anew, as if there were one process.
    defaults = type(training)(output_dir=training.output_dir, use_cpu=training.use_cpu).to_dict() | {"use_cpu": False}
    return {name: value for name, value in values.items() if value != defaults.get(name) or name == "seed"}


def read_mapping(path: str | Path) -> dict[str, Any]:
    """A YAML file of `key: value` lines.

    Raises:
        OSError: no such file.
        ProsocialError: it is not YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ProsocialError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ProsocialError(f"{path} must hold `key: value` lines, found {type(content).__name__}")
    return content


def _about(recipe: type) -> dict[str, Any]:
    """What --help says before it lists the fields."""
    usage = "prosocial COMMAND [--config recipe.yaml] [--FIELD VALUE ...]"
    return {"usage": usage, "description": inspect.getdoc(recipe), "allow_abbrev": False}


def _parsed(arguments: Sequence[str], parser: argparse.ArgumentParser, recipe: type) -> dict[str, Any]:
    """The file's fields and the options over them, with whatever defaults the parser itself has."""
    first = _Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", help="a YAML file of these fields")
    chosen, options = first.parse_known_args(list(arguments))
    for field in dataclasses.fields(cast(Any, recipe)):
        _add_option(parser, field)
    content = {} if chosen.config is None else read_mapping(chosen.config)
    unknown = sorted(map(str, set(content) - {action.dest for action in parser._actions}))
    if unknown:
        raise ProsocialError(f"{chosen.config} has keys that nothing reads: {', '.join(unknown)}")
    # As defaults, so that options win; argparse reads those that are text as it reads options.
    parser.set_defaults(**content)
    for action in parser._actions:
        action.required = action.required and action.dest not in content
    try:
        return vars(parser.parse_args(options))
    except ProsocialError as error:
        if chosen.config is None:
            raise
        raise ProsocialError(f"{chosen.config}, and the options over it: {error}") from error


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field) -> None:
    """An option for a field. Values stay text, which the field's type reads; of nested fields, text is YAML."""
    kinds = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
    origins = {get_origin(one) or one for one in kinds}
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": field.metadata.get("help")}
    if origins & {list, tuple}:
        options["nargs"] = "+"
    elif bool in origins:
        options |= {"nargs": "?", "const": True}
    elif origins & {str, int, float, Literal}:
        options["type"] = lambda text: None if text == "null" else text
    else:
        options["type"] = _yaml
    names = dict.fromkeys((f"--{field.name}", f"--{field.name.replace('_', '-')}"))
    parser.add_argument(*names, dest=field.name, **options)


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"not YAML: {' '.join(str(error).split())}") from error


def _names(recipe: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cast(Any, recipe))]
