"""Which kinds of judges there are, and a recipe's words turned into one of them."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import faults_of

from . import arm_scorer, asked, classifier, embedded, local  # noqa: F401  They register themselves.
from .registry import JudgeConfig, known_judges


def parse_judge(content: Any) -> JudgeConfig:
    """A recipe's mapping with its `kind`, as that kind's configuration.

    Raises:
        ValueError: no mapping, an unknown kind, a key that nothing reads, or a value that cannot be.
    """
    if isinstance(content, JudgeConfig):
        return content
    if not isinstance(content, Mapping) or "kind" not in content:
        raise ProsocialError(f"a judge is given as a mapping with its kind, found {content!r}")
    known = known_judges()
    if not isinstance(content["kind"], str) or content["kind"] not in known:
        raise ProsocialError(f"no kind of judge is called {content['kind']!r}; there are {', '.join(sorted(known))}")
    try:
        return TypeAdapter(known[content["kind"]]).validate_python(content)
    except ValidationError as error:
        raise ProsocialError(faults_of(error)) from error
