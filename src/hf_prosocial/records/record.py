"""What all records share: a JSON object with the version of its format, read and written in one place."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_of, write_json

FORMAT = "format"
STRICT = ConfigDict(extra="forbid", protected_namespaces=())

Kind = TypeVar("Kind", bound="Record")
Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A figure; one that is not finite is null in JSON."""


class Record:
    """A JSON object that the package writes. Subclasses are frozen dataclasses, whose fields are its keys.

    Attributes:
        VERSION: of the format; another one is an error.
    """

    __pydantic_config__ = STRICT
    VERSION: ClassVar[int] = 1

    @classmethod
    def parse(cls: type[Kind], content: Any, where: str | Path) -> Kind:
        """A record from what JSON holds.

        Args:
            content: what was read.
            where: for the error.

        Raises:
            ProsocialError: another version, a key that is missing or unknown, or a value of the wrong kind.
        """
        if not isinstance(content, Mapping):
            raise ProsocialError(f"{where} holds no JSON object")
        if type(content.get(FORMAT)) is not int or content[FORMAT] != cls.VERSION:
            raise ProsocialError(
                f"{where} has the format {content.get(FORMAT)!r}, but this version of hf_prosocial reads "
                f"{cls.VERSION}; use the version that wrote it, or make the file again"
            )
        try:
            return _adapter(cls).validate_python({key: value for key, value in content.items() if key != FORMAT})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise ProsocialError(f"{where} is no {cls.__name__}: {place}: {first['msg']}") from error

    @classmethod
    def read(cls: type[Kind], file: str | Path) -> Kind:
        """Read a file.

        Raises:
            OSError: no such file.
            ProsocialError: as `parse`, or the file is not JSON.
        """
        return cls.parse(read_json(file), file)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, the version first."""
        fields: Any = self
        return {FORMAT: self.VERSION, **asdict(fields)}

    def write(self, file: str | Path) -> None:
        """Write beside and rename."""
        write_json(Path(file), self.to_dict())


@lru_cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def read_json(file: str | Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: no such file.
        ProsocialError: it holds no JSON object.
    """
    content = json_of(file)
    if not isinstance(content, dict):
        raise ProsocialError(f"{file} holds no JSON object")
    return content
