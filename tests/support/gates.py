"""Gated harm vectors of pico-models: random factors, and gates that open for some prompts."""

from dataclasses import asdict

import numpy as np
import torch
from peft import get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_prosocial import record_base
from hf_prosocial.gate import Factors, GatedHarmVector, Probe, Turns
from hf_prosocial.models import sharing_weights
from hf_prosocial.pblora import PBLoraConfig
from hf_prosocial.records import GatedVectorRecord

from .models import randomise, tiny_tokenizer

WHOLE = Turns((), (10**6,), (10**6,), ())
"""Of no template: prompts are read whole."""


def random_factors(base, *, seed, r=2):
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, module in base.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and name != "lm_head":
            out, width = module.weight.shape if isinstance(module, nn.Linear) else module.weight.shape[::-1]
            A, B = torch.randn(r, width, generator=draw), torch.randn(out, r, generator=draw)
            found[name] = Factors(0.4 * A, 0.4 * B)
    return found


def record(scale, probe, **further):
    opens = {"threshold": probe.threshold, "full": probe.full, "turns": asdict(WHOLE)}
    nothing = {"prompts": {}, "counts": {}, "figures": {}, "versions": {}}
    read = {"layers": probe.layers, "mean_layers": probe.mean_layers}
    return GatedVectorRecord(scale, 1.0, 2, 1.0, **read, **opens, **nothing, **further)


def probe_between(base, ids, mask, *, layers=(1, 2), mean_layers=(1,), seed=0):
    """A gate that opens in full for about half of these prompts."""
    draw = np.random.default_rng(seed)
    width = (len(layers) + len(mean_layers)) * base.config.hidden_size
    probe = Probe(layers, draw.normal(size=width).astype(np.float32), 0.1, mean_layers=mean_layers)
    odds = probe.log_odds(base, ids, mask)
    middle = float(odds.quantile(0.5))
    return probe.opening(middle, middle)


def gated_vector(base, probe, *, scale=1.0, seed=0, r=2):
    found = record(scale, probe)
    record_base(found, base, tiny_tokenizer(), "base")
    return GatedHarmVector(random_factors(base, seed=seed, r=r), probe, WHOLE, found)


def arm_over(base, *, seed=4):
    """A random ARM of two objectives on the base's own memory."""
    config = PBLoraConfig(objectives=("a", "b"), r1=2, r2=3, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    own = get_peft_model(sharing_weights(base), config)
    randomise(own, seed)
    own.requires_grad_(False)
    return own.eval()


def edited_in_place(base, vector, scale):
    """θ − λ · B A, for real."""
    with torch.no_grad():
        for name, factor in vector.factors.items():
            layer = base.get_submodule(name)
            delta = scale * (factor.B.double() @ factor.A.double())
            layer.weight -= (delta.T if isinstance(layer, Conv1D) else delta).to(layer.weight.dtype)
    return base


def states_alone(base, row, layers, mean_layers, said_from=0):
    """The features of one prompt, without padding, by hand."""
    with torch.no_grad():
        states = base(row[None], output_hidden_states=True).hidden_states
    last, means = [states[at][0, -1] for at in layers], [states[at][0, said_from:].mean(0) for at in mean_layers]
    return torch.cat([*last, *means]).float()
