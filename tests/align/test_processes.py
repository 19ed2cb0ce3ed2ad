"""`accelerate launch` with two processes gives the ARM of one."""

import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.aligned import EFFORT, JUDGES, everything, tiny_base

COMMAND = ["align", "base", "--config", "align.yaml", "--only", "data", "--only", "arm", "--out"]


def run(folder, *command):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    tiny_base(tmp_path)
    everything(tmp_path)
    # Rows of one length would be drawn alike; steps of plain descent show every difference.
    recipe = {"effort": EFFORT, "judges": JUDGES, "mixture": "mixture.yaml"}
    (tmp_path / "align.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_two_processes_train_the_arm_of_one(folder):
    run(folder, "-m", "hf_prosocial.cli.app", *COMMAND, "one")
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--num_machines", 1]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 0]
    done = run(folder, *launch, "-m", "hf_prosocial.cli.app", *COMMAND, "two")
    assert "4 rows at a time on each of 2 processes" in done.stderr
    one, two = (load_file(folder / out / "arm" / "adapter_model.safetensors") for out in ("one", "two"))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=2e-3, rtol=0.05)
