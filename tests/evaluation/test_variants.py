"""A variant's model is the one that its edit leaves on disk, in the evaluation's dtype."""

import pytest
import torch
from support.checkpoints import save_copies
from support.small_evaluation import open_variants, write_config
from transformers import AutoModelForCausalLM

from hf_prosocial.direg import HarmVector
from hf_prosocial.evaluation import read_config


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
