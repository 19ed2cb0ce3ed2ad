"""Model cards, from MODEL_CARD_TEMPLATE.md."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from math import isfinite

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_prosocial.arm import margin_table
from hf_prosocial.io import markdown_table
from hf_prosocial.records import ChoiceRecord, EditRecord, TrainingRecord, VectorPublication, VectorRecord

TEMPLATE = "MODEL_CARD_TEMPLATE.md"

_ARM_INTRODUCTION = """A preference-conditioned autoregressive reward model (PV-ARM) for `{base}`.
It guides the base's decoding, token by token, towards the objectives that the user weighs: {objectives}."""

_ARM_USAGE = """from hf_prosocial import Preference, ProSocialProcessor, find_base, load_arm

model, tokenizer = find_base("{base}").load()
arm = load_arm("{id}", model, tokenizer=tokenizer)
processor = ProSocialProcessor(arm, {preference}, tokenizer=tokenizer)
inputs = tokenizer("I feel alone.", return_tensors="pt")
model.generate(**inputs, logits_processor=[processor], max_new_tokens=40)"""

_ALONE_USAGE = """

# Without hf_prosocial, by torch and transformers alone:
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{base}")
tokenizer = AutoTokenizer.from_pretrained("{base}")
inputs = tokenizer("I feel alone.", return_tensors="pt")
options = {{"custom_generate": "{id}", "trust_remote_code": True, "preference": {{"{objective}": 1}}}}
model.generate(**inputs, max_new_tokens=40, **options)"""

_ARM_LIMITS = """It reorders what its base would say. It knows nothing that the base does not know, and is no safety
filter. It was trained on replies of a few sentences, in the languages of its pairs. It must not come between people in
danger and help."""

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
on, quantised or rounded too, and no others; a sketch of them is checked."""


def arm_card(
    record: TrainingRecord,
    *,
    repo_id: str,
    base: str,
    licence: str,
    pictures: Sequence[str],
    custom_generate: bool = False,
) -> str:
    """The card of a trained ARM.

    Args:
        record: its training.json.
        repo_id: what the usage snippet loads.
        base: the base's id on the Hub, or where it is.
        licence: of the adapter, as the Hub writes it.
        pictures: names of picture files beside the card.
        custom_generate: whether custom_generate/generate.py is beside it too.
    """
    recipe = record.recipe
    alone = _ALONE_USAGE.format(base=base, id=repo_id, objective=recipe["objectives"][0]) if custom_generate else ""
    counts = ", ".join(f"{name} {count}" for name, count in record.pairs.used.items())
    command = "`ArmTrainer`, from Python" if record.command is None else f"`{' '.join(record.command)}`"
    how = (
        f"{command}, seed {record.training['seed']}, on {counts} pairs "
        f"({len(record.pairs.malformed)} malformed or too long rows left out). Base weights: "
        f"{record.base.source}. {versions_of(record.versions)}.\n\n{hashes_of(record.data)}\n\n"
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
            metric_value=round(found.own.mean, 4),
        )
        for name, found in ({} if record.dev is None else record.dev.objectives).items()
        if isfinite(found.own.mean)  # An objective without pairs has none.
    ]
    return render_card(
        CardText(
            title=f"PV-ARM for {base}",
            introduction=_ARM_INTRODUCTION.format(base=base, objectives=", ".join(recipe["objectives"])),
            usage=_ARM_USAGE.format(base=base, preference=preference, id=repo_id) + alone,
            how=how,
            figures=("No held-out pairs were given." if record.dev is None else margin_table(record.dev))
            + _shown(pictures),
            limits=_ARM_LIMITS,
        ),
        base=base,
        relation="adapter",
        library="hf_prosocial",
        licence=licence,
        tags=["pblora", "peft", "prosocial", "reward-model", "safety", *(["custom_generate"] if alone else [])],
        results=results,
    )


def safe_card(record: EditRecord, *, repo_id: str, base: str, licence: str, pictures: Sequence[str]) -> str:
    """The card of a checkpoint that a harm vector was subtracted from.

    Args:
        record: its prosocial.json.
        repo_id: what the usage snippet loads.
        base: the base's id on the Hub.
        licence: the base's.
        pictures: names of picture files beside the card.
    """
    how = (
        f"λ = {record.scale:g}. {_vector_how(record.vector)} {versions_of(record.versions)}. All of it stands in "
        "`prosocial.json`."
    )
    evidence = record.evidence
    return render_card(
        CardText(
            title=f"{base.split('/')[-1]} with its harm vector subtracted",
            introduction=_SAFE_INTRODUCTION.format(base=base, scale=record.scale),
            usage=_SAFE_USAGE.format(id=repo_id),
            how=how + _why(evidence),
            figures=_evidence_table(evidence, "this model") + _shown(pictures),
            limits=_SAFE_LIMITS,
        ),
        base=base,
        relation="finetune",
        library="transformers",
        licence=licence,
        tags=["prosocial", "safety", "model-editing", "direg"],
        results=_results(evidence),
    )


def vector_card(record: VectorPublication, *, repo_id: str, base: str, licence: str, pictures: Sequence[str]) -> str:
    """The card of a harm vector, from its prosocial.json; other arguments as in `safe_card`."""
    vector, evidence = record.vector, record.evidence
    scale = 0.5 if evidence is None else evidence.chosen.scale
    return render_card(
        CardText(
            title=f"Harm vector of {base.split('/')[-1]}",
            introduction=_VECTOR_INTRODUCTION.format(base=base),
            usage=_VECTOR_USAGE.format(id=repo_id, base=base, scale=scale),
            how=f"{_vector_how(vector)} {versions_of(vector.versions)}.{_why(evidence)}",
            figures=_evidence_table(evidence, "less λ times the vector") + _shown(pictures),
            limits=_VECTOR_LIMITS,
        ),
        base=base,
        relation="adapter",
        library="hf_prosocial",
        licence=licence,
        tags=["prosocial", "safety", "model-editing", "direg", "harm-vector"],
        results=_results(evidence),
    )


@dataclass(frozen=True)
class CardText:
    """The parts of a card's text, by the template's names."""

    title: str
    introduction: str
    usage: str
    how: str
    figures: str
    limits: str


def render_card(
    text: CardText, *, base: str, relation: str, library: str, licence: str, tags: list[str], results: list[EvalResult]
) -> str:
    """A card from its parts; the others are the Hub's own fields."""
    data = ModelCardData(
        model_name=text.title,
        base_model=base,
        base_model_relation=relation,
        library_name=library,
        license=licence,
        pipeline_tag="text-generation",
        tags=tags,
        eval_results=results or None,
    )
    template = files("hf_prosocial.assets").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return ModelCard.from_template(data, template_str=template, **asdict(text)).content


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


def versions_of(versions: Mapping[str, str]) -> str:
    """Packages and their numbers, in one line."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def hashes_of(data: Mapping[str, str]) -> str:
    """A line for each file."""
    return "\n".join(f"- `{path}`: sha256 `{digest}`" for path, digest in data.items())


def _why(evidence: ChoiceRecord | None) -> str:
    return "" if evidence is None else f"\n\nWhy this point: {evidence.reason}.\n\n{hashes_of(evidence.data)}"


_METRICS = {"multiple choice": "accuracy", "refusals of safe prompts": "refusal_rate"}


def _results(evidence: ChoiceRecord | None) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=name,
            dataset_config=name,
            metric_type=_METRICS.get(name, "loss"),
            metric_value=round(value, 4),
        )
        for name, value in ({} if evidence is None else evidence.chosen.figures).items()
    ]


def _evidence_table(evidence: ChoiceRecord | None, what: str) -> str:
    if evidence is None:
        return "Nothing was measured on it."
    before, after = evidence.base.figures, evidence.chosen.figures
    rows = [[name, f"{before[name]:.4f}", f"{value:.4f}"] for name, value in after.items()]
    return "\n\n".join([markdown_table(["held-out figure", "base", what], rows), _measured_on(evidence)])


def _measured_on(evidence: ChoiceRecord) -> str:
    """How much of each file; what a sweep recorded as None was taken whole."""

    def most(count: int | None, of: str) -> str:
        return f"all {of}" if count is None else f"{count:,} {of}"

    return (
        f"Losses are in nats per token, on the held-out rows ({evidence.held_out:g} of the prompts) and on "
        f"{most(evidence.text_tokens, 'tokens of the text')}; multiple choice is a share of right answers "
        f"({most(evidence.question_count, 'questions')}), refusals a share of replies with the words of one "
        f"({most(evidence.prompt_count, 'safe prompts')}; a baseline, no judge)."
    )


def _shown(pictures: Sequence[str]) -> str:
    return "".join(f"\n\n![{name.rsplit('.', 1)[0]}]({name})" for name in pictures)
