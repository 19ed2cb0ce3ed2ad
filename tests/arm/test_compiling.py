"""Compiling what no adapter changes leaves the training what it was."""

import shutil

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from support.models import random_arm
from support.rows import rows
from torch import nn

from hf_prosocial import OBJECTIVES, ArmTrainer, ArmTrainingArguments
from hf_prosocial.data import tokenize_rows
from hf_prosocial.pblora import tuner_of


def updated(tokenizer, tmp_path, **options):
    """The adapter after two steps, and the base's modules that were compiled, by name."""
    pairs = tokenize_rows(rows(OBJECTIVES, 20), tokenizer, OBJECTIVES, max_length=80)
    arm = random_arm("llama", seed=2)
    settings = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "seed": 3}
    settings |= {"max_steps": 2, "optim": "sgd", "learning_rate": 1.0, "per_device_train_batch_size": 4}
    ArmTrainer(arm, ArmTrainingArguments(output_dir=str(tmp_path), **(settings | options)), pairs, tokenizer).train()
    weights = {name: weight.detach() for name, weight in arm.named_parameters() if weight.requires_grad}
    parts = tuner_of(arm).wrapped.named_modules()
    return weights, {name: part for name, part in parts if part._compiled_call_impl is not None}


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
# torch's compiler sets off warnings of torch itself, and fails where they are errors.
@pytest.mark.filterwarnings("ignore")
def test_compiled_parts_hold_no_adapter_and_change_no_update(tokenizer, tmp_path):
    plain, none = updated(tokenizer, tmp_path / "plain")
    quick, compiled = updated(tokenizer, tmp_path / "quick", compile_base=True)
    assert not none
    assert {name.split(".")[-1] for name in compiled} >= {"mlp", "input_layernorm", "norm"}
    for part in compiled.values():
        assert not any(isinstance(inner, BaseTunerLayer) for inner in part.modules())
        assert not isinstance(part, (nn.Linear, nn.Embedding))
    assert plain.keys() == quick.keys()
    for name in plain:
        torch.testing.assert_close(quick[name], plain[name], atol=1e-6, rtol=1e-4)


def test_the_wrapper_is_not_compiled_in_silence(tmp_path):
    with pytest.raises(ValueError, match="set compile_base instead"):
        ArmTrainingArguments(output_dir=str(tmp_path), torch_compile=True)
