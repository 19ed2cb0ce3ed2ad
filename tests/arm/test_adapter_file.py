"""An adapter file that is not whole is refused: PEFT would fill it up with random numbers, and guide by them."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import random_base

from hf_prosocial import load_arm
from hf_prosocial.models import find_base
from hf_prosocial.models.bases import BaseNotFoundError


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # PEFT tells of it, and goes on.
def test_whole_or_refused(tmp_path, saved_arm):
    base, arm = saved_arm
    whole = load_file(arm / "adapter_model.safetensors")
    first = sorted(whole)[0]
    faults = {
        "lacks .*, and 14 more": {},
        f"lacks {first};": {name: one for name, one in whole.items() if name != first},
        f"has, and the adapter does not, {first}x;": whole | {f"{first}x": whole[first].clone()},
        f"no floating-point numbers in {first};": whole | {first: whole[first].long()},
        f"numbers that are not finite in {first};": whole | {first: whole[first] * torch.nan},
    }
    folder = shutil.copytree(arm, tmp_path / "arm")
    for said, content in faults.items():
        save_file(content, folder / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=said):
            load_arm(folder, str(base))
    save_file(whole, folder / "adapter_model.safetensors")
    load_arm(folder, str(base))


def test_a_mistyped_directory_is_called_that(tmp_path, saved_arm):
    (tmp_path / "arm").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no directory {tmp_path}/amr; {tmp_path} holds arm"):
        load_arm(tmp_path / "amr", str(saved_arm[0]))


def test_a_base_that_is_not_whole(tmp_path):
    random_base("llama", seed=1).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    first = sorted(weights)[3]
    save_file({name: one for name, one in weights.items() if name != first}, tmp_path / "model.safetensors")
    with pytest.raises(BaseNotFoundError, match=f"lacks {first}, which would be random"):
        find_base(tmp_path).load_model()
