"""The harm vector in the package: whole, small enough, and what its record says."""

import json

import torch

from hf_prosocial.assets import released_vector
from hf_prosocial.direg import HarmVector
from hf_prosocial.models import find_base
from hf_prosocial.records import read_choice


def test_it_belongs_to_smollm2_and_says_how_it_was_made():
    folder = released_vector()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10 * 10**6
    vector, choice = HarmVector.from_pretrained(folder), read_choice(folder)
    assert vector.record.benign is not None
    assert vector.record.protection.left_out > 0
    assert set(choice.record.base.figures) == set(choice.record.chosen.figures)
    record = json.loads((folder / "prosocial.json").read_text())
    assert record["vector_hash"] == vector.content_hash()
    model, tokenizer = find_base().load()
    ids = tokenizer("I feel alone.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before = model(ids).logits
        vector.subtract_from(model, choice.scale)  # An error, were it another model's.
        after = model(ids).logits
    assert not torch.allclose(before, after, atol=0.1)
