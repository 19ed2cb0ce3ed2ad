"""A variant's model is the one that its edit leaves on disk, in the evaluation's dtype."""

import pytest
import torch
from support.checkpoints import save_copies
from support.gates import gated_vector, probe_between
from support.small_evaluation import MILD, open_variants, write_config
from transformers import AutoModelForCausalLM

from hf_prosocial import Preference, ProsocialError, find_base, record_base
from hf_prosocial.direg import HarmVector
from hf_prosocial.evaluation import read_config
from hf_prosocial.evaluation.config import VariantConfig
from hf_prosocial.models import prompt_batch


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_edited_variant_is_the_subtracted_checkpoint(tmp_path, tokenizer, saved_arm, dtype):
    base, harmful = save_copies(tmp_path, tokenizer)
    vector = HarmVector.extract(base, harmful, 0.3)
    vector.save_pretrained(tmp_path / "vector")
    variants = {"base": {}, "safe": {"vector": str(tmp_path / "vector"), "scale": 0.7}}
    config = read_config(write_config(tmp_path, saved_arm, base=str(base), dtype=dtype, variants=variants))
    opened = open_variants(config).open("safe").model
    on_disk = AutoModelForCausalLM.from_pretrained(vector.subtract(base, 0.7, tmp_path / "safe"), dtype=dtype)
    expected = on_disk.state_dict() | dict(on_disk.named_buffers())
    found = opened.state_dict() | dict(opened.named_buffers())
    assert expected.keys() == found.keys()
    for name, weights in expected.items():
        assert found[name].dtype == weights.dtype, name
        assert torch.equal(found[name], weights), name


def test_guided_variants_sample_with_the_bases_spread(tmp_path, saved_arm):
    guided = {"guided": {"arm": str(saved_arm[1]), "beta": 0.8}, "strong": {"arm": str(saved_arm[1]), "beta": 2}}
    path = write_config(tmp_path, saved_arm, temperature=0.7, variants={"base": {}, **guided})
    variants = open_variants(read_config(path))
    found = {name: variants.open(name).settings["generation"]["temperature"] for name in ("base", "guided", "strong")}
    assert found == {"base": 0.7, "guided": pytest.approx(0.7 * 1.8), "strong": pytest.approx(0.7 * 3)}


def gate_for(saved_arm, folder):
    """A gated vector of the saved base that opens for some of the mild prompts."""
    base, tokenizer = find_base(saved_arm[0]).load(torch.float32)
    rows = prompt_batch(tokenizer, [[{"role": "user", "content": text}] for text in MILD])
    vector = gated_vector(base, probe_between(base, rows.input_ids, rows.attention_mask), scale=0.8)
    record_base(vector.record, base, tokenizer, str(saved_arm[0]))
    vector.save_pretrained(folder)
    opens = vector.scales(base, rows.input_ids, rows.attention_mask) > 0
    return str(folder), opens.tolist()


def test_a_gated_variant_answers_as_the_base_where_the_gate_is_shut(tmp_path, saved_arm):
    vector, opens = gate_for(saved_arm, tmp_path / "gated")
    variants = {"base": {}, "gated": {"vector": vector}, "stronger": {"vector": vector, "scale": 1.5}}
    opened = open_variants(read_config(write_config(tmp_path, saved_arm, dtype="float32", variants=variants)))
    said = [[{"role": "user", "content": text}] for text in MILD]
    uniform = [Preference.uniform()] * len(MILD)
    replies = {name: opened.open(name).replier(said, uniform) for name in variants}
    for index, is_open in enumerate(opens):
        assert (replies["gated"][index] == replies["base"][index]) != is_open
    settings = {name: opened.open(name).settings["variant"] for name in variants}
    assert settings["gated"]["gated"] == settings["stronger"]["gated"]
    assert (settings["gated"]["scale"], settings["stronger"]["scale"]) == (0.8, 1.5)
    both = {"base": {}, "x": {"vector": vector, "arm": str(saved_arm[1]), "arm_on": "edited"}}
    others = open_variants(read_config(write_config(tmp_path, saved_arm, variants=both)))
    with pytest.raises(ProsocialError, match="edits only for some prompts"):
        others.open("x")


def test_a_system_message_stands_before_every_prompt(tmp_path, saved_arm):
    variants = {"base": {}, "told": {"system": "be kind"}}
    opened = open_variants(read_config(write_config(tmp_path, saved_arm, dtype="float32", variants=variants)))
    plain, told = ([{"role": "user", "content": MILD[0]}], [{"role": "system", "content": "be kind"}])
    uniform = [Preference.uniform()]
    assert opened.open("told").replier([plain], uniform) == opened.open("base").replier([[*told, *plain]], uniform)
    assert not opened.open("told").replier.heeds_preference
    with pytest.raises(ProsocialError, match="no place for it"):
        opened.open("told").likelihoods(uniform[0])
    with pytest.raises(ProsocialError, match="not both"):
        VariantConfig(system="be kind", in_words=True)
