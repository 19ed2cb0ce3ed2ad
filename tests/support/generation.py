"""Ways of generating, prompts with padding, and whether two generations are the same."""

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import set_seed

from support.models import PAD, VOCABULARY

MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20, "top_p": 0.9, "temperature": 0.8},
    "beams": {"do_sample": False, "num_beams": 4},
    "beam sampling": {"do_sample": True, "num_beams": 3},
    "sequences": {"do_sample": True, "num_return_sequences": 3},
    "beam sequences": {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
    "repetition penalty": {"do_sample": False, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}


def prompts(rows=3, length=7, seed=0):
    """Left-padded prompts: row i has i padding tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        ids[row, :row], mask[row, :row] = PAD, 0
    return {"input_ids": ids, "attention_mask": mask}


def needs_an_assistant(family):
    if family == "gemma3" and Version(transformers.__version__) < Version("5.18"):
        pytest.skip("transformers itself fails here once an assistant's sliding window is full, without a processor")


def generate(model, inputs, *processors, seed=0, **options):
    set_seed(seed)
    with torch.no_grad():
        return model.generate(
            **inputs,
            logits_processor=list(processors),
            return_dict_in_generate=True,
            output_scores=True,
            **({"max_new_tokens": 12} | options),
        )


def assert_same(ours, theirs, atol=2e-4):
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    for one, other in zip(ours.scores, theirs.scores, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=1e-4)
