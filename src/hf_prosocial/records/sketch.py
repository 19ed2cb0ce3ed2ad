"""Some of a base's weights, so that the base is known again where it was stored in another dtype."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import TypeAdapter, ValidationError

from hf_prosocial.errors import ProsocialError

from .record import STRICT


@dataclass(frozen=True)
class Block:
    """Neighbouring entries of one weight.

    Attributes:
        start: where they begin in the flattened tensor.
        values: base64 of their bytes, fp32 in little-endian order: exact, and shorter than numbers are as text.
    """

    __pydantic_config__ = STRICT
    start: int
    values: str

    @classmethod
    def of(cls, start: int, values: Float32[np.ndarray, " entries"]) -> "Block":
        """A block of some entries."""
        return cls(start, base64.b64encode(values.astype("<f4").tobytes()).decode())

    def entries(self) -> Float32[np.ndarray, " entries"]:
        """The entries.

        Raises:
            ProsocialError: the text is no base64 of fp32 numbers.
        """
        try:
            return np.frombuffer(base64.b64decode(self.values, validate=True), dtype="<f4").astype(np.float32)
        except ValueError as error:
            raise ProsocialError(f"a sketch of weights holds a block that is no numbers ({error})") from error


@dataclass(frozen=True)
class Sketch:
    """A few hundred numbers about a model's weights.

    Attributes:
        dtype: that the weights were stored in, as "float32".
        norms: the root mean square of each weight, by name.
        blocks: neighbouring entries of some of the weights, by name.
    """

    __pydantic_config__ = STRICT
    dtype: str
    norms: dict[str, float]
    blocks: dict[str, Block]


def read_sketch(content: Mapping[str, Any], where: object) -> Sketch:
    """A sketch from what JSON holds.

    Args:
        content: what `dataclasses.asdict` of a sketch gave.
        where: for the error.

    Raises:
        ProsocialError: it is none.
    """
    try:
        return TypeAdapter(Sketch).validate_python(content)
    except ValidationError as error:
        raise ProsocialError(f"{where} holds a sketch of weights that is none: {error.errors()[0]['msg']}") from error
