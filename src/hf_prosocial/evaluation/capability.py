"""What guidance costs: perplexity, multiple choice, and how far the next token's distribution moves.

π_s · π_r^β is sharper than either: an ARM that has learned nothing (π_r = π_s) makes it π_s^(1+β). Sampling at
temperature 1 + β takes that back; greedy text is the same at any temperature. So "tempered" figures are of that
temperature, at which such an ARM costs and moves exactly nothing; the plain ones are of METHOD's formula as it stands.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_prosocial.data import Completion, read_questions, templated
from hf_prosocial.estimates import Estimate
from hf_prosocial.evaluation.figures.shares import share
from hf_prosocial.io import kept, read_text, sha256
from hf_prosocial.models import mean_divergences, right_answers, window_losses
from hf_prosocial.preference import Preference

from .answers import Answers
from .bootstrap import bootstrap, bootstrap_mean
from .config import CapabilityConfig
from .labels import SCORES
from .replies import reply_file
from .variants import Variants

CAPABILITY = "capability"
WINDOW = 512
DIVERGENCE_PROMPTS = 40


def capability_of_all(
    config: CapabilityConfig,
    variants: Variants,
    reference: str,
    answers: Sequence[Sequence[Answers]],
    uniform: Preference,
    out: Path,
) -> dict[str, Any]:
    """Every variant's figures, each kept with what it follows from.

    Args:
        config: what is read.
        variants: the models; one that is told its preference in words has no likelihood of a bare text and is left out.
        reference: the variant that divergence is measured from.
        answers: of each benchmark with rewards that was answered under the uniform preference; the first is read.
        uniform: the preference of perplexity and multiple choice.
        out: the evaluation's folder.
    """
    shared = {
        "capability": asdict(config),
        "files": [sha256(file) for file in (config.text, config.questions) if file is not None],
        "reference": variants.open(reference).settings,
    }
    found: dict[str, Any] = {}
    for variant, chosen in variants.configs.items():
        if chosen.in_words or chosen.system is not None or chosen.min_entropy:
            continue
        own = [one for of_benchmark in answers for one in of_benchmark if one.variant == variant]
        read = own[0] if own and variant != reference else None
        settings = shared | {
            "variant": variants.open(variant).settings,
            "replies": None if read is None else sha256(reply_file(out, variant, read.benchmark)),
            "preferences of the divergence": [] if read is None else [str(one) for one in read.preferences],
        }
        measured = partial(_capability_of, config, variants, variant, reference, read, uniform)
        found[variant] = kept(out / SCORES / CAPABILITY / f"{variant}.json", settings, measured)
    return found


def _capability_of(
    config: CapabilityConfig,
    variants: Variants,
    variant: str,
    reference: str,
    read: Answers | None,
    uniform: Preference,
) -> dict[str, Any]:
    found = capability_figures(config, variants, variant, tuple(uniform))
    if read is not None:
        found |= divergence(variants, variant, reference, read)
    return {name: asdict(one) for name, one in found.items()}


def capability_figures(
    config: CapabilityConfig, variants: Variants, variant: str, objectives: Sequence[str]
) -> dict[str, Any]:
    """Perplexity of running text and, where there are questions, the share of right answers; uniform preference.

    Raises:
        ValueError: a variant that has no likelihood of a bare text.
    """
    model = variants.open(variant).likelihoods(Preference.uniform(objectives=objectives))
    text = read_text(config.text)
    temperatures = (1.0, variants.configs[variant].neutral_temperature)
    losses = window_losses(
        model, variants.tokenizer, text, window=WINDOW, tokens=config.text_tokens, temperatures=temperatures
    )
    found = {"perplexity": _perplexity(losses[:, [0, 2]]), "perplexity_tempered": _perplexity(losses[:, [1, 2]])}
    if config.questions is not None:
        questions = read_questions(config.questions).rows[: config.question_count]
        pad: Any = variants.tokenizer.eos_token_id
        right = right_answers(model, variants.tokenizer, questions, pad_token_id=pad)
        found["multiple_choice"] = share(right.astype(np.float64))
    return found


def divergence(variants: Variants, variant: str, reference: str, answers: Answers) -> dict[str, Any]:
    """KL(variant ‖ reference) of the next token on the variant's own replies, each read under the preference that it
    was made under; nats per token, a mean over preferences and then prompts.

    Args:
        variants: the models.
        variant: whose replies are read.
        reference: what it is compared with.
        answers: the variant's; those to the first `DIVERGENCE_PROMPTS` prompts are read.
    """
    pad: Any = variants.tokenizer.eos_token_id
    found = []
    for preference in answers.preferences:
        answered = zip(answers.prompts, answers.under(preference), strict=True)
        rows = [
            Completion(
                row, *templated(variants.tokenizer, prompt.messages(), [{"role": "assistant", "content": reply}])
            )
            for row, (prompt, reply) in enumerate(islice(answered, DIVERGENCE_PROMPTS))
        ]
        means = mean_divergences(
            variants.open(variant).likelihoods(preference),
            variants.open(reference).model,
            rows,
            pad_token_id=pad,
            temperatures=(1.0, variants.configs[variant].neutral_temperature),
        )
        found.append(means)
    plain, tempered = np.mean(found, axis=0).T
    return {"divergence": bootstrap_mean(plain), "divergence_tempered": bootstrap_mean(tempered)}


def _perplexity(losses: Float[np.ndarray, "windows 2"]) -> Estimate:
    return bootstrap(losses, lambda some: float(np.exp(some[:, 0].sum() / some[:, 1].sum())))
