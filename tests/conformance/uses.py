"""What a model is used for, each use tried against its definition: exact, or refused in one sentence."""

import tempfile
from pathlib import Path

import torch
from peft import get_peft_model
from support.generation import generate as generate_in
from support.generation import prompts
from support.models import random_arm, random_base, randomise
from support.oracle import FullRecompute
from support.training import row_log_prob
from transformers import AutoModelForCausalLM

from conformance.families import build, row_modules
from hf_prosocial import GuidedModel, HarmVector, PBLoraConfig, Preference, ProSocialProcessor, SpeculativeGuidedModel
from hf_prosocial.arm import pair_log_probs
from hf_prosocial.arm.batch import collate
from hf_prosocial.arm.pair_reading import reading_of
from hf_prosocial.data import Pair
from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import sharing_weights

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)
GREEDY = {"do_sample": False}


def generate(model, inputs, *processors, **options):
    """Six tokens: past the windows of the pico-models, and over a cache that was reordered or cropped."""
    return generate_in(model, inputs, *processors, **({"max_new_tokens": 6} | options))


def arm_of(family, *, seed, base=None):
    base = build(family, seed=seed) if base is None else base
    modules = row_modules(base)
    if not modules:
        raise ProsocialError("no linear layer sees tokens by rows")
    arm = get_peft_model(base, PBLoraConfig(r1=2, r2=3, target_modules=modules, task_type="CAUSAL_LM"))
    randomise(arm, seed)
    return arm.eval()


def same(ours, theirs):
    """Scores that differ by rounding alone: of fp32, at the magnitude of the scores."""
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    for one, other in zip(ours.scores, theirs.scores, strict=True):
        finite = other[torch.isfinite(other)]
        torch.testing.assert_close(one, other, atol=1e-5 * max(1.0, finite.abs().max().item()) * 10, rtol=1e-4)


def _padded_or_alone(check):
    """A check with padded prompts; where those are refused, with one prompt."""
    try:
        check(prompts())
    except ProsocialError as error:
        if "padded" not in str(error):
            raise
        check(prompts(rows=1))
        return "exact, prompts of one length"
    return "exact"


def processor(family):
    """An ARM of the family guides another model."""
    base, arm = random_base("llama", seed=1), arm_of(family, seed=2)

    def check(inputs):
        for options in (GREEDY, {"num_beams": 3, "do_sample": False}):
            theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), **options)
            same(generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **options), theirs)

    return _padded_or_alone(check)


def guided(family):
    """The family is guided by an ARM of another model."""
    base, arm = build(family, seed=1), random_arm("llama", seed=2)
    inputs = prompts()
    try:
        generate(base, inputs, **GREEDY)
    except Exception as error:
        return f"transformers' own generate fails: {type(error).__name__}"
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), **GREEDY)
    same(generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **GREEDY), theirs)
    return "exact"


def one_pass(family):
    """`GuidedModel`: base and guide in one forward pass."""
    base = build(family, seed=1)
    arm = arm_of(family, seed=2, base=sharing_weights(base))
    model = GuidedModel(base, arm, PREFERENCE)

    def check(inputs):
        theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), **GREEDY)
        same(generate(model, inputs, **GREEDY), theirs)

    return _padded_or_alone(check)


def drafting(family):
    """`SpeculativeGuidedModel`: an ARM of the family drafts for a base of the family."""
    base, arm = build(family, seed=1), arm_of(family, seed=2)
    model = SpeculativeGuidedModel(base, arm, PREFERENCE)
    inputs = prompts(rows=1)
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), **GREEDY)
    assert generate(model, inputs, **GREEDY).sequences.tolist() == theirs.sequences.tolist()
    return "exact"


def training(family):
    """Log-probabilities of pairs, and their gradients."""
    arm = arm_of(family, seed=2)
    drawn = torch.Generator().manual_seed(0)
    lengths = ((5, 7, 4), (3, 6, 8), (6, 4, 5))
    tokens = [torch.randint(3, 60, (sum(one),), generator=drawn).tolist() for one in lengths]
    pairs = [
        Pair(line, 0, ids[:prompt], ids[prompt : prompt + chosen], ids[prompt + chosen :])
        for line, (ids, (prompt, chosen, _)) in enumerate(zip(tokens, lengths, strict=True))
    ]
    reading = reading_of(arm, arm.get_base_model())
    arm.set_preference([PREFERENCE] * len(pairs))
    found = pair_log_probs(arm, collate(pairs, pad_token_id=0), reading)
    arm.set_preference(PREFERENCE)
    for row, pair in enumerate(pairs):
        alone = [row_log_prob(arm, pair.prompt, reply) for reply in (pair.chosen, pair.rejected)]
        torch.testing.assert_close(found[:, row], torch.stack(alone), atol=2e-3, rtol=1e-4)
    arm.set_preference([PREFERENCE] * len(pairs))
    pair_log_probs(arm, collate(pairs, pad_token_id=0), reading).sum().backward()
    moved = [weight.grad for name, weight in arm.named_parameters() if "pblora_A" in name]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in moved)
    return "packed" if reading.packed else "apart"


def _copies(family, folder):
    base, harmful = build(family, seed=1), build(family, seed=1)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(7)
        for parameter in harmful.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    base.save_pretrained(folder / "base")
    harmful.save_pretrained(folder / "harmful")
    vector = HarmVector.extract(folder / "base", folder / "harmful", 0.2, out=folder / "vector.safetensors")
    return base, harmful, vector


def edit_files(family):
    """A harm vector, and its subtraction, on files: the edited model is the definition's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, harmful, vector = _copies(family, folder)
        vector.subtract(folder / "base", 1.5, folder / "safe")
        edited = AutoModelForCausalLM.from_pretrained(folder / "safe")
        changed = kept = 0
        own, copy = dict(base.named_parameters()), dict(harmful.named_parameters())
        for parameter, weight in edited.named_parameters():
            tau = copy[parameter] - own[parameter]
            moved = weight != own[parameter]
            torch.testing.assert_close(weight[moved], (own[parameter] - 1.5 * tau)[moved], atol=1e-5, rtol=1e-5)
            changed += int(moved.sum())
            kept += weight.numel()
        assert 0.15 < changed / kept < 0.25
    return "exact"


def edit_memory(family):
    """The same subtraction on a loaded model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, _, vector = _copies(family, folder)
        vector.subtract(folder / "base", 1.5, folder / "safe")
        edited = AutoModelForCausalLM.from_pretrained(folder / "safe")
        model = AutoModelForCausalLM.from_pretrained(folder / "base")
        vector.subtract_from(model, 1.5)
        expected = dict(edited.named_parameters())
        for parameter, weight in model.named_parameters():
            assert torch.equal(weight, expected[parameter]), parameter
    return "exact"


USES = {
    "training": training,
    "guides (processor)": processor,
    "is guided": guided,
    "one pass (GuidedModel)": one_pass,
    "drafting": drafting,
    "edit on files": edit_files,
    "edit in memory": edit_memory,
}


def outcome(family, use):
    """ "exact" or the like, or "refused: " and the sentence; anything else raises."""
    try:
        return USES[use](family)
    except ProsocialError as error:
        return f"refused: {error}"
