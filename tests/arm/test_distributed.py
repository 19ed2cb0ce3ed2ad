"""Two processes by `accelerate launch` give the update of one process with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parent.parent / "support" / "distributed.py"


def run(*command):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("conflict", ["pcgrad", "none"])
def test_two_processes_update_as_one(tmp_path, conflict):
    run(SCRIPT, tmp_path, 4, conflict)
    # --multi_gpu starts the processes; with use_cpu in the script they stay on the processor.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--num_machines", 1]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 0]
    run(*launch, SCRIPT, tmp_path, 2, conflict)
    alone = load_file(tmp_path / "rank0-of1.safetensors")
    for rank in (0, 1):
        found = load_file(tmp_path / f"rank{rank}-of2.safetensors")
        for name, weight in alone.items():
            torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-5)
