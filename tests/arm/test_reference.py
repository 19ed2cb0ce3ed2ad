"""log π_0 that is run once gives the training that runs it at every step."""

import pytest
import torch
from support.models import random_base
from support.rows import rows
from support.training import assert_close, row_log_prob, trained

from hf_prosocial import OBJECTIVES
from hf_prosocial.arm.reference import with_reference
from hf_prosocial.data import Pairs, tokenize_rows


@pytest.fixture
def pairs(tokenizer):
    return tokenize_rows(rows(OBJECTIVES, 20), tokenizer, OBJECTIVES, max_length=80)


def test_it_is_the_bases(pairs, tmp_path):
    base = random_base("llama", seed=2)
    found = with_reference(pairs, base, tmp_path / "new" / "reference.safetensors", pad_token_id=0, batch_tokens=200)
    for pair in found.rows:
        with torch.no_grad():
            alone = [row_log_prob(base, pair.prompt, reply).item() for reply in (pair.chosen, pair.rejected)]
        assert pair.reference == pytest.approx(alone, abs=1e-4)


def test_the_update_is_that_of_running_it_each_time(pairs, tokenizer, tmp_path):
    options = {"relative_to_base": True, "optim": "sgd", "learning_rate": 0.1, "max_steps": 2}
    live = trained(pairs, tokenizer, tmp_path, **options)
    kept = with_reference(pairs, random_base("llama", seed=2), tmp_path / "reference.safetensors", pad_token_id=0)
    assert_close(live, trained(kept, tokenizer, tmp_path, **options), atol=1e-6, rtol=1e-5)
    absolute = trained(kept, tokenizer, tmp_path, **(options | {"relative_to_base": False}))
    assert any((live[name] - absolute[name]).abs().max() > 1e-4 for name in live)


def test_it_is_run_once_and_belongs_to_base_and_pairs(pairs, tmp_path, monkeypatch):
    file, base = tmp_path / "reference.safetensors", random_base("llama", seed=2)
    first = with_reference(pairs, base, file, pad_token_id=0)
    monkeypatch.setattr("hf_prosocial.arm.reference.score_pairs", None)
    assert with_reference(pairs, base, file, pad_token_id=0).rows == first.rows
    fewer = Pairs(pairs.objectives, pairs.rows[1:])
    for other, model in ((fewer, base), (pairs, random_base("llama", seed=3))):
        with pytest.raises(ValueError, match="of other pairs or of another base"):
            with_reference(other, model, file, pad_token_id=0)
    assert [one.name for one in tmp_path.iterdir()] == ["reference.safetensors"]
