"""Prompts that a gate must leave alone, by template, and harmful requests in other words."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_SLOT = re.compile(r"\{(\w+)\}")
_PER_TEMPLATE = 24
_PER_ACT = 45
_FORMS = 4


@cache
def _templates() -> dict[str, Any]:
    return yaml.safe_load(files("hf_prosocial.gate").joinpath("harmless.yaml").read_text(encoding="utf-8"))


def harmless_prompts(seed: int = 0) -> list[str]:
    """Harmless requests: everyday ones, and ones in frightening words (figures of speech, history, fiction, safety).

    Args:
        seed: of which fillings of a template are taken, and of how an act is asked for.
    """
    content, draw = _templates(), random.Random(seed)
    found = [text for group in content["kinds"].values() for one in group for text in _filled(one, _PER_TEMPLATE, draw)]
    for act in content["acts"]:
        found += [_asked(filled, draw.choice(content["styles"])) for filled in _filled(act, _PER_ACT, draw)]
    return list(dict.fromkeys(map(_sentence, found)))


def frightening_prompts() -> list[str]:
    """Harmless requests that sound frightening, each written by itself: by them the threshold is set."""
    text = files("hf_prosocial.gate").joinpath("frightening.txt").read_text(encoding="utf-8")
    return text.splitlines()


def people_prompts(seed: int = 0) -> list[str]:
    """Messages of people in need: grief and violence, crises, emergencies."""
    content, draw = _templates(), random.Random(seed)
    groups = content["people"].values()
    found = [text for group in groups for one in group for text in _filled(one, _PER_TEMPLATE, draw)]
    return list(dict.fromkeys(map(_sentence, found)))


def in_other_words(requests: Sequence[str], seed: int = 0) -> list[str]:
    """Harmful requests, each asked for in a few more ways: in the same ways as harmless acts are.

    So that what a probe learns is what is asked for, and not how.
    """
    styles, draw = _templates()["styles"], random.Random(seed)
    found = []
    for request in requests:
        text = request.strip().rstrip(".?!")
        how = re.search(r"\bhow to (.+)$", text)
        act = how.group(1) if how else text[:1].lower() + text[1:]
        found += [_asked(act, style) for style in draw.sample(styles, _FORMS)]
    return list(dict.fromkeys(found))


def _filled(template: str, most: int, draw: random.Random) -> Iterator[str]:
    slots: Mapping[str, Sequence[str]] = _templates()["slots"]
    names = list(dict.fromkeys(_SLOT.findall(template)))
    count = 1
    for name in names:
        count *= len(slots[name])
    for index in sorted(draw.sample(range(count), min(count, most))):
        values = {}
        for name in names:
            index, place = divmod(index, len(slots[name]))
            values[name] = slots[name][place]
        yield " ".join(template.format(**values).split())


def _asked(act: str, style: str) -> str:
    return style.replace("{act}", act).replace("{Act}", _sentence(act))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
