"""Generates with a GuidedModel that torch.compile has made one graph of, and without; on an accelerator if it can."""

import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig

from hf_prosocial import GuidedModel, Preference
from hf_prosocial.models import preferred_device, sharing_weights
from support.models import random_arm, random_base

device = preferred_device()
base = random_base("llama", seed=1).to(device)
arm = random_arm("llama", seed=2, base=sharing_weights(base))
guided = GuidedModel(base, arm, Preference(empathy=0.7, truthfulness=0.3))
ids = torch.randint(3, 61, (2, 7), generator=torch.Generator().manual_seed(0)).to(device)
if device.type == "cpu":
    compiling = CompileConfig(backend="eager", fullgraph=True, mode=None)
    compiling._compile_all_devices = True  # else only GPUs'
else:
    compiling = CompileConfig(fullgraph=True)
options = {"max_new_tokens": 10, "do_sample": False}
ours = guided.generate(ids, cache_implementation="static", compile_config=compiling, **options)
assert counters["stats"]["unique_graphs"] >= 1, counters
assert not counters["graph_break"], counters
assert ours.tolist() == guided.generate(ids, **options).tolist()
