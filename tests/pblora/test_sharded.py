"""FSDP: a sharded ARM's forward pass, and its adapter from a gathered state, are those of the whole model."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from peft import PeftModel
from support.models import random_arm, random_base

from hf_prosocial import Preference

SCRIPT = Path(__file__).parent.parent / "support" / "sharded.py"


def test_a_sharded_adapter_is_saved_whole(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    whole = random_arm("llama", seed=2)
    loaded = PeftModel.from_pretrained(random_base("llama", seed=2), str(tmp_path / "arm"))
    ids = torch.tensor([[5, 6, 7, 8]])
    found = torch.load(tmp_path / "logits.pt")
    for arm in (whole, loaded):
        arm.set_preference(Preference.one_hot("empathy"))
        with torch.no_grad():
            torch.testing.assert_close(found, arm(ids, use_cache=False).logits, atol=1e-5, rtol=1e-5)
    expected = dict(whole.named_parameters())
    for name, weight in loaded.named_parameters():
        if "pblora_" in name:
            torch.testing.assert_close(weight, expected[name], atol=0, rtol=0)
