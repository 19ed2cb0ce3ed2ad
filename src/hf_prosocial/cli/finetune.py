"""`prosocial direg finetune`: a recipe (YAML) and options, to a copy that a harm vector can be taken from."""

import sys

import torch
from transformers import TrainingArguments

from hf_prosocial.bases import find_base
from hf_prosocial.direg.completions import read_completions
from hf_prosocial.direg.finetune import CopyRecipe, finetune_copy

from .recipes import parse_recipe


def run_finetune(arguments: list[str]) -> None:
    """Fine-tune the copy and save it, with its warning card, to `output_dir`.

    Raises:
        ValueError: an unreadable recipe, or data without a row to train on.
    """
    recipe, training = parse_recipe(arguments, CopyRecipe, TrainingArguments)
    source = find_base(recipe.base)
    print(f"base: {source.description}", file=sys.stderr)
    dtype = recipe.base_dtype if recipe.base_dtype == "auto" else getattr(torch, recipe.base_dtype)
    model, tokenizer = source.load(dtype)
    completions = read_completions(recipe.data, tokenizer, recipe.max_length)
    print(f"{recipe.data}: {completions.report()}", file=sys.stderr)
    torch.manual_seed(training.seed)
    kept = completions.without_held_out(recipe.held_out)
    print(f"{len(completions) - len(kept)} of them held out", file=sys.stderr)
    output = finetune_copy(model, tokenizer, kept, recipe, training)
    print(f"{output} holds a copy that may comply with harmful requests; delete it when the vector has been made")
