"""Model cards, from MODEL_CARD_TEMPLATE.md."""

from importlib.resources import files
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

TEMPLATE = "MODEL_CARD_TEMPLATE.md"

_USAGE = """from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.bases import find_base

model, tokenizer = find_base("{base}").load()
arm = load_arm("path-or-hub-id", model, tokenizer=tokenizer)
processor = ProSocialProcessor(arm, {preference}, tokenizer=tokenizer)
inputs = tokenizer("I feel alone.", return_tensors="pt")
model.generate(**inputs, logits_processor=[processor], max_new_tokens=40)"""

_LIMITS = """It reorders what its base would say. It knows nothing that the base does not know, and is no safety filter.
It was trained in English, on replies of a few sentences. It must not come between people in danger and help."""


def arm_card(record: dict[str, Any], figures: str) -> str:
    """The card of a trained ARM.

    Args:
        record: what `prosocial arm train` writes to training.json.
        figures: Markdown tables of held-out margins.
    """
    recipe = record["recipe"]
    counts = ", ".join(f"{name} {count}" for name, count in record["pairs"]["used"].items())
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    hashes = "\n".join(f"- `{path}`: sha256 `{digest}`" for path, digest in record["data"].items())
    how = (
        f"`{' '.join(record['command'])}`, seed {record['training']['seed']}, on {counts} pairs "
        f"({len(record['pairs']['malformed'])} malformed or too long rows left out). Base weights: "
        f"{record['base']['source']}. {versions}.\n\n{hashes}\n\nAll of it stands in `training.json`."
    )
    preference = f'Preference.one_hot("{recipe["objectives"][0]}", objectives={tuple(recipe["objectives"])})'
    card = ModelCard.from_template(
        ModelCardData(
            base_model=recipe["base"],
            base_model_relation="adapter",
            library_name="hf_prosocial",
            license="apache-2.0",
            pipeline_tag="text-generation",
            tags=["pblora", "peft", "prosocial", "reward-model", "safety"],
        ),
        template_str=files("hf_prosocial.assets").joinpath(TEMPLATE).read_text(encoding="utf-8"),
        title=f"PV-ARM for {recipe['base']}",
        base_model=recipe["base"],
        objectives=recipe["objectives"],
        usage=_USAGE.format(base=recipe["base"], preference=preference),
        how=how,
        figures=figures or "No held-out pairs were given.",
        limits=_LIMITS,
    )
    return card.content
