"""An evaluation's figures in a model card: its data, for the Hub, and a table, for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_of, markdown_table


def with_evaluation(card: str, file: str | Path) -> str:
    """A card with the figures of an evaluation: in its data, for the Hub, and as a table, the reference's beside them.

    Args:
        card: of a model.
        file: what `prosocial evaluate` wrote into `eval_results`.

    Raises:
        OSError: no such file.
        ValueError: it holds no evaluation.
    """
    try:
        content = json_of(file)
        name, results = model_index_to_eval_results(content["model-index"])
        # The reference variant's own file, and a model-index from elsewhere, have nothing beside it.
        reference, beside = model_index_to_eval_results(content["reference"]) if "reference" in content else ("", [])
    except (ValueError, KeyError, TypeError) as error:
        raise ProsocialError(f"{file} holds no evaluation ({error}); give a file of eval_results") from error
    found = ModelCard(card)
    data: Any = found.data
    data.model_name = data.model_name or name
    # The Hub takes no result without a value; the table tells of it.
    data.eval_results = [*(data.eval_results or []), *(one for one in results if one.metric_value is not None)]
    columns = [("value", results)] if not beside else [(reference, beside), (name, results)]
    table = _evaluation_table(columns)
    found.text = found.text.replace("## Limits", f"## Evaluation\n\n{table}\n\n## Limits", 1)
    return str(found)


def _evaluation_table(columns: Sequence[tuple[str, list[EvalResult]]]) -> str:
    """A row a figure of the last column."""
    values = [{(one.dataset_config, one.metric_type): one.metric_value for one in results} for _, results in columns]
    rows = [
        [
            str(one.dataset_name),
            str(one.metric_name),
            *(_cell(column, (one.dataset_config, one.metric_type)) for column in values),
        ]
        for one in columns[-1][1]
    ]
    return markdown_table(["benchmark", "figure", *(name for name, _ in columns)], rows)


def _cell(values: Mapping[tuple[str | None, str], Any], figure: tuple[str | None, str]) -> str:
    if figure not in values:
        return ""  # The reference has no divergence from itself.
    return "not finite" if values[figure] is None else f"{values[figure]}"
