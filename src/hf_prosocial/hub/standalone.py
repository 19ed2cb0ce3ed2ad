"""Guided text: model.generate(..., custom_generate="@ARM@", trust_remote_code=True, preference={"empathy": 1}).

At each token, beta times the log-probabilities of a reward model (PV-ARM) are added to the model's own; the preference
weighs the reward model's objectives. Made by hf_prosocial, whose `load_arm` checks more and is faster.
"""

import json
import math
import weakref
from base64 import b64decode
from contextvars import ContextVar
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.functional import linear
from transformers import DynamicCache, LogitsProcessor
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import cached_file

PREFERENCE, BETA = None, 1.0  # Of whoever asks for none; at 0, asking for a preference is 1.
_CORES = ContextVar("of the reward model that reads now", default=None)
_ARMS = weakref.WeakKeyDictionary()
_CANNOT = ("assistant_model", "prompt_lookup_num_tokens", "past_key_values", "cache", "inputs_embeds")
_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


def generate(inputs=None, *, model, preference=None, beta=None, arm="@ARM@", logits_processor=None, **kwargs):
    """transformers' `generate`, guided; `preference` is {objective: weight}, which may stand in generation_config."""
    config = kwargs.get("generation_config")
    preference = getattr(config, "preference", PREFERENCE) if preference is None else preference
    beta = getattr(config, "beta", BETA or float(preference is not PREFERENCE)) if beta is None else beta
    ids = kwargs.pop("input_ids", None) if inputs is None else inputs
    if ids is None or any(kwargs.get(name) is not None for name in _CANNOT) or model.config.is_encoder_decoder:
        raise ValueError(f"guidance needs input_ids and a decoder-only model, and takes no {', '.join(_CANNOT)}")
    if not (isinstance(preference, dict) and isinstance(beta, (int, float)) and 0 <= beta <= 1e6):
        raise ValueError(f"give preference={{objective: weight}} and beta >= 0; found {preference!r} and {beta!r}")
    mask = kwargs.get("attention_mask", None if len(ids) > 1 else torch.ones_like(ids))
    if mask is None or bool((mask[:, -1] == 0).any()):
        raise ValueError("give the attention_mask of the prompts, padded on the left (tokenizer.padding_side = 'left')")
    held = _ARMS.setdefault(model, {})
    held[arm] = held.get(arm) or Arm(model, arm)
    guide = Guide(held[arm], held[arm].cores(preference), beta, mask)
    kwargs |= {"attention_mask": mask, "logits_processor": [*(logits_processor or []), guide]}
    found = type(model).generate(model, ids, **kwargs)
    if not guide.called:
        raise RuntimeError("this way of generating drops logits processors, so that nothing guided; use plain generate")
    return found


class Arm:
    """The reward model: a low-rank update of some of a model's own layers, by hooks that act while it reads alone."""

    def __init__(self, model, arm):
        config, weights = (str(cached_file(arm, name)) for name in ("adapter_config.json", "adapter_model.safetensors"))
        self.config, weights = json.loads(Path(config).read_text(encoding="utf-8")), load_file(weights)
        check_base(model, self.config["base_sketch"]["blocks"], arm)
        self.model, self.layers = weakref.proxy(model), {}
        for name in sorted({key.rpartition(".pblora_")[0] for key in weights}):
            layer = model.get_submodule(name.removeprefix("base_model.model."))
            parts = {part: weights[f"{name}.pblora_{part}"] for part in ("A", "B", "W1", "W2")}
            self.layers[name] = {part: values.to(layer.weight.device) for part, values in parts.items()}
            layer.register_forward_hook(self._hook(name))
        self.try_out(model)

    def _hook(self, name):
        def update(layer, args, output):
            owner, cores = _CORES.get() or (None, None)
            if owner is not self:
                return output
            A, B = self.layers[name]["A"], self.layers[name]["B"]
            return (output + linear(linear(linear(args[0].to(A.dtype), A), cores[name]), B)).to(output.dtype)

        return update

    def cores(self, preference):
        """s · blockdiag(W1, W2(p)) of each layer, for the weights p."""
        names, r2 = self.config["objectives"], self.config["r2"]
        values = [float(preference.get(name, 0)) for name in names]
        if set(preference) - set(names) or min(values) < 0 or not math.isclose(sum(values), 1, abs_tol=1e-6):
            raise ValueError(f"a preference weighs some of {names} by numbers >= 0 that sum to 1; found {preference}")
        found = {}
        for name, one in self.layers.items():
            p = torch.tensor(values, dtype=one["W2"].dtype, device=one["W2"].device)
            found[name] = torch.block_diag(one["W1"], (p @ one["W2"]).view(r2, r2)) * (self.config["lora_alpha"] / r2)
        return self, found

    @torch.no_grad()
    def read(self, cores, ids, mask, cache=None, kept=0):
        """The logits after the last column; the cache holds the first `kept` columns."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, kept:]
        token, given = _CORES.set(cores), {_CACHE: cache, "use_cache": True, "attention_mask": mask}
        try:
            return self.model(input_ids=ids[:, kept:], position_ids=positions, **given).logits[:, -1].float()
        finally:
            _CORES.reset(token)

    def try_out(self, model):
        """Whether a cache or padding changes what the model says: its configuration does not tell."""
        cores = self.cores({self.config["objectives"][0]: 1})
        ids = torch.tensor([[11, 5, 7, 13, 11, 9]], device=model.device)
        ones, cache = torch.ones_like(ids), DynamicCache(config=model.config)
        whole = self.read(cores, ids, ones)
        self.read(cores, ids[:, :3], ones[:, :3], cache)
        padding = torch.cat([0 * ids, ones], 1)
        others = self.read(cores, ids, ones, cache, 3), self.read(cores, torch.cat([ids, ids], 1), padding)
        off = max(float((other - whole).abs().max() / whole.std()) for other in others)
        if not off <= (0.2 if model.dtype != torch.float32 else 1e-3):
            raise ValueError(f"{type(model).__name__} says other things with a cache or padding; use hf_prosocial")


def check_base(model, blocks, arm):
    """Refuse another model than the reward model's own base, by sampled entries of its weights."""
    weights, pairs = dict(model.named_parameters()), []
    for name, block in blocks.items():
        recorded = torch.frombuffer(bytearray(b64decode(block["values"])), dtype=torch.float32)
        found = weights[name].detach().flatten()[block["start"] :][: len(recorded)] if name in weights else recorded[:0]
        if len(found) < len(recorded):
            raise ValueError(f"{arm} guides another model: this one has no {name} of that size")
        pairs.append(torch.stack([recorded, found.float().cpu()]))
    recorded, found = torch.cat(pairs, 1)
    off = float((found - recorded).norm() / recorded.norm())
    if not off <= 0.15:
        raise ValueError(f"{arm} guides another model: sampled weights are {off:.0%} away from its own base's")


class Guide(LogitsProcessor):
    """log-softmax(scores) + beta · log-softmax(reward model), by a cache that follows beams by their tokens."""

    def __init__(self, arm, cores, beta, mask):
        self.arm, self.cores, self.beta, self.mask = arm, cores, beta, mask
        self.cache, self.rows, self.called = DynamicCache(config=arm.model.config), None, False

    def __call__(self, input_ids, scores):
        """Guided log-probabilities, fp32."""
        self.called = True
        if self.beta == 0:
            return scores
        mask = self.mask.repeat_interleave(len(input_ids) // len(self.mask), 0)
        mask = torch.cat([mask, mask.new_ones(len(mask), input_ids.shape[1] - mask.shape[1])], 1)
        rows, kept = input_ids * 2 + mask, 0
        if self.rows is not None and rows.shape[1] == self.rows.shape[1] + 1:
            same = (rows[:, None, :-1] == self.rows).all(-1)
            if bool(same.any(1).all()):
                kept = self.rows.shape[1]
                self.cache.reorder_cache(same.int().argmax(1))
        self.cache = self.cache if kept else DynamicCache(config=self.arm.model.config)
        logits, self.rows = self.arm.read(self.cores, input_ids, mask, self.cache, kept).to(scores.device), rows
        return (scores.float().log_softmax(-1) + self.beta * logits.log_softmax(-1)).log_softmax(-1)
