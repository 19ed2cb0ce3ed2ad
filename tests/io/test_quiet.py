"""Warnings of others that a user can do nothing about are not shown, and all others are."""

import warnings

import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from support.models import random_base

from hf_prosocial.io import without_known_warnings


def test_what_peft_says_of_a_saved_adapter_on_a_base_elsewhere_is_not_shown(tmp_path):
    made = get_peft_model(random_base("llama", seed=1), LoraConfig(r=2, target_modules=["q_proj"]))
    made.peft_config["default"].base_model_name_or_path = "somebody/model"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with without_known_warnings():
            made.save_pretrained(tmp_path)
            PeftModel.from_pretrained(random_base("llama", seed=1), tmp_path)
            warnings.warn("this concerns you", UserWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["this concerns you"]


def test_outside_of_the_block_all_is_as_before():
    before = list(warnings.filters)
    with pytest.raises(ZeroDivisionError), without_known_warnings():
        raise ZeroDivisionError
    assert warnings.filters == before
