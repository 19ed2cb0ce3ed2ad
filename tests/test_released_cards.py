"""The cards of what is released here, as the Hub would show them."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_prosocial.assets import MINILM_JUDGES, released_arm, released_judges, released_vector

BASELINES = Path(__file__).parents[1] / "study" / "smollm2" / "baselines"
FOLDERS = [
    released_arm(),
    released_judges(),
    released_judges(MINILM_JUDGES),
    released_vector(),
    *sorted(path.parent for path in BASELINES.glob("*/README.md")),
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_picture_that_a_card_shows_lies_beside_it(folder):
    card = ModelCard.load(folder / "README.md")
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card.text)
    assert [name for name in shown if not (folder / name).is_file()] == []
