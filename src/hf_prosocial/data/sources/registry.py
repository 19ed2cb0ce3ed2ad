"""Converters by name, and those that users bring."""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError

from .made import Left, Made, Rows

Converter = Callable[..., Iterator[Made | Left]]
"""Takes the rows of a source's files and its own options by name; gives what it makes of them."""

_CONVERTERS: dict[str, Converter] = {}


def converter(name: str) -> Callable[[Converter], Converter]:
    """Register a converter by a name, as a decorator: `@converter("my_pairs")`."""

    def register(function: Converter) -> Converter:
        _CONVERTERS[name] = function
        return function

    return register


def converters() -> dict[str, Converter]:
    """Those of this package, and those that were registered since, by name."""
    import_module("hf_prosocial.data.sources.converters")
    import_module("hf_prosocial.data.sources.own_formats")
    return dict(_CONVERTERS)


def convert(name: str, rows: Rows, options: dict[str, Any], beside: Path) -> Iterable[Made | Left]:
    """Run one.

    Args:
        name: registered, or `module:function`; modules beside the mixture are found.
        rows: of the source's files.
        options: as the mixture has them.
        beside: the mixture's folder.

    Raises:
        ProsocialError: no such converter, options that it does not take, or rows that it cannot read.
    """
    found = converters().get(name) or _brought(name, beside)
    try:
        inspect.signature(found).bind(rows, **options)
    except TypeError as error:
        takes = list(inspect.signature(found).parameters)[1:]
        strange = [one for one in options if one not in takes]
        said = f"it knows no option {', '.join(strange)}" if strange else str(error)
        raise ProsocialError(f"the options of {name} do not fit: {said}; it takes {', '.join(takes)}") from error
    try:
        return list(found(rows, **options))
    except (KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
        raise ProsocialError(f"{name} cannot read these rows: {error!r}") from error


def _brought(name: str, beside: Path) -> Converter:
    module, colon, function = name.partition(":")
    if not colon:
        raise ProsocialError(f"no converter {name!r}; there are {sorted(converters())}, or give module:function")
    sys.path.insert(0, str(beside.resolve()))
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ProsocialError(
            f"no converter {name!r}: {error}; the module lies beside the mixture, or is installed"
        ) from error
    finally:
        sys.path.remove(str(beside.resolve()))
