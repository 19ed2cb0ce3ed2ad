"""Shards an ARM over two processes as FSDP does, and saves its adapter from the state that FSDP gathers."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from hf_prosocial import Preference
from support.models import random_arm

out = Path(sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
arm = random_arm("llama", seed=2)
for layer in arm.base_model.model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(arm, mesh=mesh)
arm.set_preference(Preference.one_hot("empathy"))
with torch.no_grad():
    logits = arm(torch.tensor([[5, 6, 7, 8]]), use_cache=False).logits
state = get_model_state_dict(arm, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
if dist.get_rank() == 0:
    arm.save_pretrained(out / "arm", state_dict=state)
    torch.save(logits, out / "logits.pt")
dist.barrier()
dist.destroy_process_group()
