"""A vector whose entries are not those of its record is refused, on disk and in memory alike."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.checkpoints import save_copies
from support.models import random_base
from transformers import AutoModelForCausalLM

from hf_prosocial.direg import HarmVector


@pytest.fixture(params=[False, True], ids=["indices", "compact"])
def vector(request, tokenizer, tmp_path):
    base, harmful = save_copies(tmp_path, tokenizer)
    file = tmp_path / "vector.safetensors"
    HarmVector.extract(base, harmful, 0.2, out=file, compact=request.param)
    return base, file


def rewritten(file, change, *, checksum=False):
    """The file with its tensors changed; without its checksum, unless that is what is looked at."""
    tensors = load_file(file)
    with safe_open(file, framework="pt") as whole:
        metadata = dict(whole.metadata())
    if not checksum:
        del metadata["sha256"]
    save_file(change(tensors), file, metadata=metadata)
    return file


def refused(base, file, out, message):
    for edit in (
        lambda: HarmVector(file).subtract(base, 1.0, out),
        lambda: HarmVector(file).subtract(base, 1.0, out, allow_mismatch=True),
        lambda: HarmVector(file).subtract_from(AutoModelForCausalLM.from_pretrained(base), 1.0),
    ):
        with pytest.raises(ValueError, match=message):
            edit()
    assert not out.exists()


def first(tensors, kind):
    return next(name for name in sorted(tensors) if name.endswith(kind) and tensors[name].numel() > 4)


def test_an_unchanged_file_is_whole(vector, tmp_path):
    base, file = vector
    HarmVector(rewritten(file, lambda tensors: tensors, checksum=True)).subtract(base, 1.0, tmp_path / "out")


def test_any_change_is_seen_by_the_checksum(vector, tmp_path):
    base, file = vector

    def nudge(tensors):
        values = tensors[first(tensors, ".values")]
        values[1] = values[1] * 1.01
        return tensors

    refused(base, rewritten(file, nudge, checksum=True), tmp_path / "out", "it is damaged or was edited")


def test_entries_that_are_missing(vector, tmp_path):
    base, file = vector
    cut = lambda tensors: tensors | {first(tensors, ".values"): tensors[first(tensors, ".values")][:-1].clone()}  # noqa: E731
    refused(base, rewritten(file, cut), tmp_path / "out", r"indices and \d+ values, its record says")


def test_values_that_are_not_finite(vector, tmp_path):
    base, file = vector

    def spoil(tensors):
        tensors[first(tensors, ".values")][0] = torch.nan
        return tensors

    refused(base, rewritten(file, spoil), tmp_path / "out", "values that are not finite")


@pytest.mark.parametrize("vector", [False], indirect=True)
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(0, -1, "indices from -1"), (-1, 10**6, "of a tensor with"), (1, 0, "do not ascend"), (2, 1, "do not ascend")],
)
def test_wrong_indices(vector, tmp_path, place, value, message):
    base, file = vector

    def spoil(tensors):
        indices = tensors[first(tensors, ".indices")]
        indices[place] = indices[0] if (place, value) == (1, 0) else value
        return tensors

    refused(base, rewritten(file, spoil), tmp_path / "out", message)


def test_a_tensor_that_is_gone_or_of_another_dtype(vector, tmp_path):
    base, file = vector
    whole = file.read_bytes()
    for change in (
        lambda tensors: {name: one for name, one in tensors.items() if name != first(tensors, ".values")},
        lambda tensors: tensors | {first(tensors, ".values"): tensors[first(tensors, ".values")].double()},
    ):
        file.write_bytes(whole)
        refused(base, rewritten(file, change), tmp_path / "out", "was expected; get the file again")


def test_a_record_whose_counts_contradict_each_other(vector):
    _, file = vector
    tensors = load_file(file)
    with safe_open(file, framework="pt") as whole:
        metadata = dict(whole.metadata())
    record = json.loads(metadata["record"])
    record["kept"] += 1
    save_file(tensors, file, metadata=metadata | {"record": json.dumps(record)})
    with pytest.raises(ValueError, match=r"says that it keeps \d+ entries, and \d+ in its tensors"):
        HarmVector(file)
    for text in ("{", "[]", json.dumps({**record, "density": "much"})):
        save_file(tensors, file, metadata=metadata | {"record": text})
        with pytest.raises(ValueError, match=str(file)):
            HarmVector(file)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_are_refused_or_change_nothing(vector, tmp_path, data):
    _, file = vector
    whole = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    spoiled = tmp_path / "spoiled.safetensors"
    spoiled.write_bytes(whole)
    model = random_base("llama", seed=1)
    try:
        HarmVector(spoiled).subtract_from(model, 1.0)
    except (ValueError, OSError) as error:
        assert str(error)  # noqa: PT017
        return
    right = random_base("llama", seed=1)
    HarmVector(file).subtract_from(right, 1.0)
    for one, other in zip(model.parameters(), right.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("begun", ["pissa", "olora"])
def test_a_lora_of_a_changed_base(tokenizer, tmp_path, begun):
    """A fresh adapter of these kinds changes nothing, and its factors are large."""
    (base,) = save_copies(tmp_path, tokenizer, copies=("base",))
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=begun)
    adapted = get_peft_model(random_base("llama", seed=1), config)
    adapted.save_pretrained(tmp_path / "lora")
    with pytest.raises(ValueError, match=rf"begun by init_lora_weights='{begun}', which changes the base's weights"):
        HarmVector.extract(base, tmp_path / "lora", 0.1, out=tmp_path / "vector.safetensors")
    assert not (tmp_path / "vector.safetensors").exists()
