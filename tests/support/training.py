"""Trainings of pico-models, and the loss as METHOD writes it: row by row, without packing or padding."""

import torch
from transformers import set_seed

from hf_prosocial import ArmTrainer, ArmTrainingArguments
from hf_prosocial.arm.preference_sampling import PreferenceSampler
from support.models import random_arm


def training_arguments(tmp_path, **options):
    defaults = {"per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    defaults |= {"max_steps": 1, "logging_steps": 1, "save_strategy": "no", "max_grad_norm": 0.0, "beta_r": 0.5}
    return ArmTrainingArguments(output_dir=str(tmp_path), **(defaults | options))


def row_log_prob(arm, prompt, reply):
    """Σ log π(y_t | ...) of one unpadded sequence."""
    ids = torch.tensor([prompt + reply])
    log_probs = arm(ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    return log_probs[torch.arange(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt) :]].sum()


def drawn(pair, args, **options):
    """The preference and the weight of one pair at step 0."""
    draw = options.pop("draw", 0)
    sampler = PreferenceSampler(5, concentration=args.preference_concentration, seed=args.seed, **options)
    p, weight = sampler.draw([pair.objective], [pair.line], step=0, draw=draw)
    return p[0], weight[0]


def reply_log_probs(arm, pair, p):
    arm.set_preference(p)
    return row_log_prob(arm, pair.prompt, pair.chosen), row_log_prob(arm, pair.prompt, pair.rejected)


def defined_loss(arm, chosen_pairs, args):
    """Σ_i L_i, L_i = (1/N) Σ p_row,i · ℓ_row, as METHOD writes it; with γ times the contrast added to ℓ_row."""
    total = 0.0
    for pair in chosen_pairs:
        i, log_sigmoid = pair.objective, torch.nn.functional.logsigmoid
        p, weight = drawn(pair, args, sampling=args.preference_sampling)
        if args.preference_sampling == "dirichlet":
            assert weight == p[i]
        chosen, rejected = reply_log_probs(arm, pair, p)
        of_base = [0.0, 0.0]
        if args.relative_to_base:
            with torch.no_grad(), arm.disable_adapter():
                of_base = [row_log_prob(arm, pair.prompt, reply) for reply in (pair.chosen, pair.rejected)]
        margin = (chosen - of_base[0]) - (rejected - of_base[1])
        if args.length_free:
            lengths = len(pair.chosen), len(pair.rejected)
            per_token = (chosen - of_base[0]) / lengths[0] - (rejected - of_base[1]) / lengths[1]
            margin = per_token * 2 / (1 / lengths[0] + 1 / lengths[1])
        loss = -log_sigmoid(args.beta_r * margin) - args.rpo_alpha * chosen / len(pair.chosen)
        if args.preference_contrast:
            other, _ = drawn(pair, args, sampling="dirichlet", draw=1)
            other_chosen, other_rejected = reply_log_probs(arm, pair, other)
            # The difference of margins, less the part of it that a uniform gain per token would make.
            gain = torch.stack([chosen - other_chosen, rejected - other_rejected])
            lengths = torch.tensor([len(pair.chosen), len(pair.rejected)])
            uniform = gain.sum() / lengths.sum()
            residual = gain - uniform * lengths
            sign = 1 if p[i] > other[i] else -1
            contrast = -abs(p[i] - other[i]) * log_sigmoid(sign * args.beta_r * (residual[0] - residual[1]))
            loss = loss + args.preference_contrast * contrast
        total = total + weight * loss
    return total / len(chosen_pairs)


def trained(pairs, tokenizer, tmp_path, dropout=0.0, **options):
    set_seed(0)
    arm = random_arm("llama", seed=2, dropout=dropout)
    ArmTrainer(arm, training_arguments(tmp_path, **options), pairs, tokenizer).train()
    return {name: weight.detach().clone() for name, weight in arm.named_parameters() if weight.requires_grad}


def assert_close(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance)
