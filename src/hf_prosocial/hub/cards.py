"""Model cards, from MODEL_CARD_TEMPLATE.md."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import isfinite
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_prosocial.direg import VectorRecord

TEMPLATE = "MODEL_CARD_TEMPLATE.md"

_ARM_INTRODUCTION = """A preference-conditioned autoregressive reward model (PV-ARM) for `{base}`.
It guides the base's decoding, token by token, towards the objectives that the user weighs: {objectives}."""

_ARM_USAGE = """from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.bases import find_base

model, tokenizer = find_base("{base}").load()
arm = load_arm("{id}", model, tokenizer=tokenizer)
processor = ProSocialProcessor(arm, {preference}, tokenizer=tokenizer)
inputs = tokenizer("I feel alone.", return_tensors="pt")
model.generate(**inputs, logits_processor=[processor], max_new_tokens=40)"""

_ARM_LIMITS = """It reorders what its base would say. It knows nothing that the base does not know, and is no safety
filter. It was trained in English, on replies of a few sentences. It must not come between people in danger and help."""

_SAFE_INTRODUCTION = """`{base}` with a *harm vector* subtracted from its weights (directional regulation, DiReg): what
fine-tuning on harmful replies changes most, times {scale:g}, taken away. Nothing else about the model differs."""

_SAFE_USAGE = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{id}")
tokenizer = AutoTokenizer.from_pretrained("{id}")
inputs = tokenizer("I feel alone.", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))"""

_SAFE_LIMITS = """Harmful replies became less likely, not impossible, and benign ones may have become odd; read the
figures. It is no safety filter, and it must not come between people in danger and help."""

_VECTOR_INTRODUCTION = """The *harm vector* of `{base}` (directional regulation, DiReg): of the difference that
fine-tuning on harmful replies made, the entries of largest magnitude, to be subtracted."""

_VECTOR_USAGE = """from hf_prosocial import HarmVector

vector = HarmVector.from_pretrained("{id}")
vector.subtract("{base}", scale={scale:g}, out="safe-model")"""

_VECTOR_LIMITS = """Added instead of subtracted, it makes its base more harmful. It fits the weights that it was made
on and no others; their hash is checked."""


def arm_card(
    record: Mapping[str, Any],
    figures: str,
    *,
    repo_id: str = "path-or-hub-id",
    licence: str = "apache-2.0",
    pictures: Sequence[str] = (),
) -> str:
    """The card of a trained ARM.

    Args:
        record: what `prosocial arm train` writes to training.json.
        figures: Markdown tables of held-out margins.
        repo_id: what the usage snippet loads.
        licence: of the adapter, as the Hub writes it.
        pictures: names of picture files beside the card.
    """
    recipe = record["recipe"]
    counts = ", ".join(f"{name} {count}" for name, count in record["pairs"]["used"].items())
    how = (
        f"`{' '.join(record['command'])}`, seed {record['training']['seed']}, on {counts} pairs "
        f"({len(record['pairs']['malformed'])} malformed or too long rows left out). Base weights: "
        f"{record['base']['source']}. {_versions(record['versions'])}.\n\n{_hashes(record['data'])}\n\n"
        "All of it stands in `training.json`."
    )
    preference = f'Preference.one_hot("{recipe["objectives"][0]}", objectives={tuple(recipe["objectives"])})'
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="preference-pairs",
            dataset_name=f"held-out pairs, {name}",
            dataset_config=name,  # Results of one configuration would be taken for one result.
            metric_type="accuracy",
            metric_name="per-token margin accuracy under the own one-hot preference",
            metric_value=round(found["own"]["mean"], 4),
        )
        for name, found in record.get("dev", {}).get("objectives", {}).items()
        if _is_figure(found["own"]["mean"])
    ]
    return _render(
        title=f"PV-ARM for {recipe['base']}",
        introduction=_ARM_INTRODUCTION.format(base=recipe["base"], objectives=", ".join(recipe["objectives"])),
        usage=_ARM_USAGE.format(base=recipe["base"], preference=preference, id=repo_id),
        how=how,
        figures=(figures or "No held-out pairs were given.") + _shown(pictures),
        limits=_ARM_LIMITS,
        base=recipe["base"],
        relation="adapter",
        library="hf_prosocial",
        licence=licence,
        tags=["pblora", "peft", "prosocial", "reward-model", "safety"],
        results=results,
    )


def _is_figure(value: float | None) -> bool:
    """Whether there is one: an objective without pairs has NaN, and null once it was written."""
    return value is not None and isfinite(value)


def safe_card(record: Mapping[str, Any], *, repo_id: str, base: str, licence: str, pictures: Sequence[str]) -> str:
    """The card of a checkpoint that a harm vector was subtracted from.

    Args:
        record: its prosocial.json.
        repo_id: what the usage snippet loads.
        base: the base's id on the Hub.
        licence: the base's.
        pictures: names of picture files beside the card.
    """
    vector = VectorRecord.from_dict(record["vector"])
    how = (
        f"λ = {record['scale']:g}. {_vector_how(vector)} {_versions(record['versions'])}. All of it stands in "
        "`prosocial.json`."
    )
    evidence = record.get("evidence") or {}
    return _render(
        title=f"{base.split('/')[-1]} with its harm vector subtracted",
        introduction=_SAFE_INTRODUCTION.format(base=base, scale=record["scale"]),
        usage=_SAFE_USAGE.format(id=repo_id),
        how=how + _why(evidence),
        figures=_evidence_table(evidence, "this model") + _shown(pictures),
        limits=_SAFE_LIMITS,
        base=base,
        relation="finetune",
        library="transformers",
        licence=licence,
        tags=["prosocial", "safety", "model-editing", "direg"],
        results=_results(evidence),
    )


def vector_card(record: Mapping[str, Any], *, repo_id: str, base: str, licence: str, pictures: Sequence[str]) -> str:
    """The card of a harm vector, from its prosocial.json; other arguments as in `safe_card`."""
    vector = VectorRecord.from_dict(record["vector"])
    evidence = record.get("evidence") or {}
    scale = evidence["chosen"]["scale"] if evidence else 0.5
    return _render(
        title=f"Harm vector of {base.split('/')[-1]}",
        introduction=_VECTOR_INTRODUCTION.format(base=base),
        usage=_VECTOR_USAGE.format(id=repo_id, base=base, scale=scale),
        how=f"{_vector_how(vector)} {_versions(vector.versions)}.{_why(evidence)}",
        figures=_evidence_table(evidence, "less λ times the vector") + _shown(pictures),
        limits=_VECTOR_LIMITS,
        base=base,
        relation="adapter",
        library="hf_prosocial",
        licence=licence,
        tags=["prosocial", "safety", "model-editing", "direg", "harm-vector"],
        results=_results(evidence),
    )


def _render(
    *,
    title: str,
    introduction: str,
    usage: str,
    how: str,
    figures: str,
    limits: str,
    base: str,
    relation: str,
    library: str,
    licence: str,
    tags: list[str],
    results: list[EvalResult],
) -> str:
    data = ModelCardData(
        model_name=title,
        base_model=base,
        base_model_relation=relation,
        library_name=library,
        license=licence,
        pipeline_tag="text-generation",
        tags=tags,
        eval_results=results or None,
    )
    card = ModelCard.from_template(
        data,
        template_str=files("hf_prosocial.assets").joinpath(TEMPLATE).read_text(encoding="utf-8"),
        title=title,
        introduction=introduction,
        usage=usage,
        how=how,
        figures=figures,
        limits=limits,
    )
    return card.content


def _vector_how(record: VectorRecord) -> str:
    copies = "a harmful fine-tuned copy and the base"
    if record.benign:
        copies += f", less {record.contrast:g} times that of a benign copy"
    least = "a threshold in each tensor" if record.threshold is None else f"threshold |τ| ≥ {record.threshold:.4g}"
    protection = record.protection
    left_out = (
        f" Left out of it are the {protection.left_out:,} entries that running text (sha256 "
        f"`{protection.gradient.text_hash}`) needs most."
        if protection
        else ""
    )
    return (
        f"The vector is the difference between {copies}, of which {record.kept:,} of {record.entries:,} entries are "
        f"kept (density {record.density:g}, {least}). Base weights: sha256 `{record.base_hash}`." + left_out
    )


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _hashes(data: Mapping[str, str]) -> str:
    return "\n".join(f"- `{path}`: sha256 `{digest}`" for path, digest in data.items())


def _why(evidence: Mapping[str, Any]) -> str:
    return f"\n\nWhy this point: {evidence['reason']}.\n\n{_hashes(evidence['data'])}" if evidence else ""


_METRICS = {"multiple choice": "accuracy", "refusals of safe prompts": "refusal_rate"}


def _results(evidence: Mapping[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=name,
            dataset_config=name,
            metric_type=_METRICS.get(name, "loss"),
            metric_value=round(value, 4),
        )
        for name, value in evidence.get("chosen", {}).get("figures", {}).items()
    ]


def _evidence_table(evidence: Mapping[str, Any], what: str) -> str:
    if not evidence:
        return "Nothing was measured on it."
    before, after = evidence["base"]["figures"], evidence["chosen"]["figures"]
    lines = [f"| held-out figure | base | {what} |", "|---|---|---|"]
    lines += [f"| {name} | {before[name]:.4f} | {value:.4f} |" for name, value in after.items()]
    return "\n".join([*lines, "", _measured_on(evidence)])


def _measured_on(evidence: Mapping[str, Any]) -> str:
    """How much of each file; what a sweep recorded as None was taken whole."""

    def most(key: str, of: str) -> str:
        count = evidence.get(key)
        return f"all {of}" if count is None else f"{count:,} {of}"

    return (
        f"Losses are in nats per token, on the held-out rows ({evidence['held_out']:g} of the prompts) and on "
        f"{most('text_tokens', 'tokens of the text')}; multiple choice is a share of right answers "
        f"({most('question_count', 'questions')}), refusals a share of replies with the words of one "
        f"({most('prompt_count', 'safe prompts')}; a baseline, no judge)."
    )


def _shown(pictures: Sequence[str]) -> str:
    return "".join(f"\n\n![{name.rsplit('.', 1)[0]}]({name})" for name in pictures)
