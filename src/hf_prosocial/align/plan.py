"""Which stages a base's data allow, and what each follows from."""

from dataclasses import asdict
from typing import Any

from hf_prosocial.data import DEV, TRAIN, inputs_hash, read_mixture
from hf_prosocial.errors import ProsocialError

from .evidence import make_cards, make_evaluation
from .folder import GATE, HARMFUL, HUMANE, DataFolder
from .ledger import Stage
from .stages import Work, make_arm, make_copies, make_data, make_gate, make_safe, make_vector


def stages_of(work: Work) -> list[Stage]:
    """The stages that the data allow, in order.

    Raises:
        OSError: no such base, or no such mixture.
        ProsocialError: data without pairs, or completions without the text that an edit is measured on.
    """
    files = _files_of_data(work)
    stages = [_data(work)]
    if {HARMFUL, HUMANE} <= files:
        if not any(name.startswith("capability/") for name in files):
            raise ProsocialError(
                "the data have completions, of which a harm vector is made, and no running text (texts: "
                "capability/...), on which its price is measured; add one, or leave the completions out"
            )
        gated = set(GATE) <= files
        stages += [_copies(work, gated), _vector(work), _safe(work)]
        stages += [_gate(work)] if gated else []
    stages.append(_arm(work))
    stages.append(_evaluation(work, tuple(stage.name for stage in stages)))
    stages.append(_cards(work))
    return stages


def _data(work: Work) -> Stage:
    given = work.recipe.data is not None
    settings = {"folder": work.data.fingerprint()} if given else {"mixture": inputs_hash(work.recipe.mixture)}
    does, outputs = ("take the data", ()) if given else ("build the data", ("data",))
    return Stage("data", does, settings, (), outputs, lambda: make_data(work))


def _copies(work: Work, gated: bool) -> Stage:
    steps = work.effort.copy_steps
    return Stage(
        "copies",
        f"fine-tune a harmful and a humane copy, {steps} steps each",
        _base(work) | _trained(work) | _amounts(work, "copy_steps", "save_steps"),
        ("data",),
        ("copies",),
        lambda: make_copies(work),
        together=True,
        resumes=True,
        passing=() if work.recipe.keep_harmful_copy else ("copies/harmful",),
        until=("vector", "safe", *(("gate",) if gated else ())),
    )


def _vector(work: Work) -> Stage:
    return Stage(
        "vector",
        "find the harm vector, and how much of it to subtract",
        _amounts(work, "densities", "scales", "sweep_tokens", "sweep_prompts"),
        ("copies",),
        ("sweep", "harm-vector"),
        lambda: make_vector(work),
        makes={"vector": "harm-vector"},
        resumes=True,
    )


def _safe(work: Work) -> Stage:
    does, makes = "write the safe checkpoint", {"safe base": "safe-base"}
    return Stage("safe", does, {}, ("vector",), ("safe-base",), lambda: make_safe(work), makes=makes)


def _gate(work: Work) -> Stage:
    return Stage(
        "gate",
        "train the gate",
        {"seed": work.recipe.seed},
        ("data", "copies"),
        ("gated-harm-vector",),
        lambda: make_gate(work),
        makes={"gated vector": "gated-harm-vector"},
    )


def _arm(work: Work) -> Stage:
    weights = {"weights": work.guide_known_by}
    return Stage(
        "arm",
        "train the ARM on preference pairs",
        weights | _trained(work) | _amounts(work, "pairs", "held_out_pairs", "save_steps"),
        ("data",),
        ("arm", "pairs"),
        lambda: make_arm(work),
        together=True,
        makes={"arm": "arm"},
        resumes=True,
    )


def _evaluation(work: Work, before: tuple[str, ...]) -> Stage:
    measured = {"judges": work.recipe.judges, "seed": work.recipe.seed}
    return Stage(
        "evaluation",
        "compare the base with what was made of it",
        _base(work) | measured | _amounts(work, "prompts", "new_tokens", "text_tokens"),
        before,
        ("report",),
        lambda: make_evaluation(work),
        makes={"report": "report"},
        resumes=True,
    )


def _cards(work: Work) -> Stage:
    return Stage(
        "cards", "write cards", {}, ("evaluation",), ("cards",), lambda: make_cards(work), makes={"cards": "cards"}
    )


def _base(work: Work) -> dict[str, Any]:
    return {"weights": work.base_known_by}


def _trained(work: Work) -> dict[str, Any]:
    """How many rows go together is among it: it decides the last bits of what is trained."""
    return {"seed": work.recipe.seed, "dtype": work.machine.dtype, "rows": work.machine.rows * work.machine.processes}


def _amounts(work: Work, *names: str) -> dict[str, Any]:
    effort = asdict(work.effort)
    return {name: effort[name] for name in names}


def _files_of_data(work: Work) -> set[str]:
    """What the data hold, or will."""
    if work.recipe.data is not None:
        folder: DataFolder = work.data
        if not folder.has(TRAIN, DEV):
            raise ProsocialError(f"{folder.path} holds no preferences; `prosocial data build` makes such a folder")
        found = {name for name in (HARMFUL, HUMANE, *GATE) if folder.has(name)}
        return found | ({"capability/text"} if folder.text is not None else set())
    mixture = read_mixture(work.recipe.mixture)
    found = set(mixture.written())
    return found | ({HARMFUL, HUMANE} if {"harmful", "humane"} <= set(mixture.completions) else set())
