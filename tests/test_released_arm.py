"""The adapter in the package: whole, small enough, and what its record says."""

import json

import torch

from hf_prosocial import OBJECTIVES, Preference, load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.models import find_base


def test_it_belongs_to_smollm2_and_says_how_it_was_made():
    folder = released_arm()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4 * 2**20
    record = json.loads((folder / "training.json").read_text())
    assert record["command"][:3] == ["prosocial", "arm", "train"]
    assert len(record["data"]) == 2
    assert set(record["dev"]["objectives"]) == set(OBJECTIVES)
    model, tokenizer = find_base().load()
    arm = load_arm(folder, model, tokenizer=tokenizer)
    ids = tokenizer("I feel alone.", return_tensors="pt")["input_ids"]
    logits = []
    with torch.no_grad():
        for preference in (Preference.one_hot("empathy"), Preference.one_hot("truthfulness")):
            arm.set_preference(preference)
            logits.append(arm(ids).logits)
        logits.append(model(ids).logits)
    assert not torch.allclose(logits[0], logits[1], atol=0.1)
    assert not torch.allclose(logits[0], logits[2], atol=0.1)
