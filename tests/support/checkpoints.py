"""Pairs of pico-checkpoints on disk, and the definition of the kept set, computed densely."""

import torch
from safetensors.torch import load_file

from support.models import random_base

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def save_copies(folder, tokenizer, *, family="llama", dtype=torch.float32, sharded=False, copies=("base", "harmful")):
    """A base, and copies of it that differ by small random numbers; the directories."""
    generator = torch.Generator().manual_seed(7)
    paths = []
    for copy in copies:
        model = random_base(family, seed=1).to(dtype)
        if copy != "base":
            with torch.no_grad():
                for parameter in model.parameters():
                    noise = torch.randn(parameter.shape, generator=generator) * 0.05
                    parameter.add_(noise.to(dtype))
        paths.append(folder / copy)
        model.save_pretrained(folder / copy, max_shard_size="2KB" if sharded else "1GB")
        tokenizer.save_pretrained(folder / copy)
    return paths


def tensors_of(folder):
    """Every tensor of a checkpoint, by name."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def dense_tau(base, harmful):
    """θ_h − θ in fp32, by name."""
    one, other = tensors_of(base), tensors_of(harmful)
    return {name: other[name].float() - one[name].float() for name in one}


def dense_kept(tau, requested):
    """{τ ≠ 0, |τ| ≥ the m-th largest |τ|}, by name, as masks: METHOD's definition, all in memory."""
    everything = torch.cat([values.abs().flatten() for values in tau.values()])
    threshold = everything.sort(descending=True).values[requested - 1]
    return {name: (values != 0) & (values.abs() >= threshold) for name, values in tau.items()}


def kept_by(vector):
    """What a vector holds, as a dense tensor for each name."""
    dense = {}
    for name, tensor in vector.record.tensors.items():
        values = torch.zeros(tensor.shape).flatten()
        indices, kept = vector.entries_of(name)
        assert len(indices) == len(kept) == tensor.kept
        assert (indices.diff() > 0).all()
        values[indices.long()] = kept
        dense[name] = values.view(tensor.shape)
    return dense
