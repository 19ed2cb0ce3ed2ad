"""The fine-tuned copy: loss on the completion alone, a warning beside it; mild stand-ins serve as data."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support.completions import completion_loss, completion_rows
from support.models import random_base
from support.rows import ASKED
from torch.testing import assert_close
from transformers import TrainingArguments

from hf_prosocial.data import IGNORED, CompletionCollator, read_completions
from hf_prosocial.data.completions import tokenize_completions
from hf_prosocial.direg import CopyRecipe, HarmVector, finetune_copy
from hf_prosocial.direg.finetune import COPY_KIND
from hf_prosocial.io import one_writer


def arguments(folder, **options):
    defaults = {"per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    defaults |= {"learning_rate": 2e-2, "max_steps": 30, "save_strategy": "no", "logging_steps": 10}
    return TrainingArguments(output_dir=str(folder), **(defaults | options))


def test_labels_are_the_completions_tokens(tokenizer):
    completions = tokenize_completions(completion_rows(3), tokenizer, 80)
    batch = CompletionCollator(0)(completions.rows)
    for row, ids, mask, labels in zip(
        completions.rows, batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
    ):
        assert row.completion[-1] == tokenizer.eos_token_id
        assert ids[: row.length].tolist() == row.prompt + row.completion
        assert mask.tolist() == [1] * row.length + [0] * (len(mask) - row.length)
        assert labels[labels != IGNORED].tolist() == row.completion
        assert (labels[: len(row.prompt)] == IGNORED).all()


def test_the_loss_is_of_the_completions_alone(tokenizer):
    completions = tokenize_completions(completion_rows(5), tokenizer, 80)
    model = random_base("llama", seed=1)
    with torch.no_grad():
        loss = model(**CompletionCollator(0)(completions.rows)).loss
    assert loss.item() == pytest.approx(completion_loss(model, completions), rel=1e-4)


def test_malformed_rows_are_named(tmp_path, tokenizer):
    good = completion_rows(2)
    bad = [{"prompt": good[0]["prompt"]}, good[0] | {"completion": [{"role": "assistant", "content": " "}]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in (*good, *bad)) + "\nnot json\n")
    report = read_completions(file, tokenizer, 80).report()
    assert report.startswith("2 rows; 3 malformed rows left out")
    for reason in ("missing field: 1 (line 3)", "empty reply: 1 (line 4)", "not JSON: 1 (line 5)"):
        assert reason in report
    with pytest.raises(ValueError, match="too long: 2"):
        read_completions(file, tokenizer, 3)


def test_rows_of_one_prompt_are_held_out_together(tokenizer):
    one, other = completion_rows(40), [row | {"completion": row["prompt"]} for row in completion_rows(25)]
    for index, row in enumerate(one + other):
        row["prompt"] = [{"role": "user", "content": f"{ASKED[index % 5]} {ASKED[index % 4]}"}]
    first, second = (tokenize_completions(rows, tokenizer, 80) for rows in (one, other))
    for share in (0.0, 0.1, 0.5, 1.0):
        held, rest = first.held_out(share), first.without_held_out(share)
        assert sorted(row.line for row in (*held.rows, *rest.rows)) == [row.line for row in first.rows]
        prompts = {tuple(row.prompt) for row in held.rows} | {tuple(r.prompt) for r in second.held_out(share).rows}
        assert not prompts & {tuple(row.prompt) for row in (*rest.rows, *second.without_held_out(share).rows)}
        assert share < 1 or not rest.rows
    many = tokenize_completions(
        [row | {"prompt": f"number {index}", "completion": "no"} for index, row in enumerate(completion_rows(2000))],
        tokenizer,
        80,
    )
    assert 0.08 < len(many.held_out(0.1)) / 2000 < 0.12


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_copy_learns_and_its_vector_unlearns(tmp_path, tokenizer, full):
    base = tmp_path / "base"
    random_base("llama", seed=1).save_pretrained(base)
    tokenizer.save_pretrained(base)
    completions = tokenize_completions(completion_rows(), tokenizer, 80)
    recipe = CopyRecipe(data="rows.jsonl", base=str(base), full=full, r=4, lora_alpha=8)
    torch.manual_seed(0)
    args = arguments(tmp_path / "copy", learning_rate=1e-3 if full else 2e-2)
    copy = finetune_copy(random_base("llama", seed=1), tokenizer, completions, recipe, args)
    assert "It may comply with harmful requests" in (copy / "README.md").read_text()
    assert json.loads((copy / "prosocial.json").read_text())["kind"] == COPY_KIND
    assert (copy / "adapter_config.json").is_file() != full
    model = random_base("llama", seed=1)
    before = completion_loss(model, completions)
    vector = HarmVector.extract(base, copy, 0.3)
    vector.subtract_from(model, 0.5)
    assert completion_loss(model, completions) > before + 0.1
    if not full:
        trained = PeftModel.from_pretrained(random_base("llama", seed=1), copy)
        assert completion_loss(trained, completions) < 0.5 * before


def test_a_resumed_training_takes_no_step_beyond_the_last(tmp_path, tokenizer):
    completions = tokenize_completions(completion_rows(), tokenizer, 80)
    recipe = CopyRecipe(data="rows.jsonl", base="base", r=4, lora_alpha=8)
    options = {"max_steps": 5, "save_strategy": "steps", "save_steps": 5, "logging_steps": 1}
    options |= {"lr_scheduler_type": "constant", "per_device_train_batch_size": 2}
    copy = finetune_copy(random_base("llama", seed=1), tokenizer, completions, recipe, arguments(tmp_path, **options))
    before = load_file(copy / "adapter_model.safetensors")
    options["resume_from_checkpoint"] = str(tmp_path / "checkpoint-5")
    finetune_copy(random_base("llama", seed=1), tokenizer, completions, recipe, arguments(tmp_path, **options))
    assert not (tmp_path / "checkpoint-6").exists()
    assert_close(load_file(copy / "adapter_model.safetensors"), before, atol=0, rtol=0)
    assert json.loads((copy / "prosocial.json").read_text())["log"][-1]["step"] == 5


def test_one_folder_has_one_training(tmp_path, tokenizer):
    completions = tokenize_completions(completion_rows(), tokenizer, 80)
    recipe = CopyRecipe(data="rows.jsonl", base="base")
    with one_writer(tmp_path / "copy"), pytest.raises(FileExistsError, match=f"is writing copy in {tmp_path}"):
        finetune_copy(random_base("llama", seed=1), tokenizer, completions, recipe, arguments(tmp_path / "copy"))
    assert list((tmp_path / "copy").iterdir()) == []


def test_an_interrupted_run_already_carries_the_warning(tmp_path, tokenizer):
    completions = tokenize_completions(completion_rows(), tokenizer, 80)
    recipe = CopyRecipe(data="rows.jsonl", base="base", target_modules=["no_such_module"])
    with pytest.raises(ValueError, match="no_such_module"):
        finetune_copy(random_base("llama", seed=1), tokenizer, completions, recipe, arguments(tmp_path / "copy"))
    assert json.loads((tmp_path / "copy" / "prosocial.json").read_text())["kind"] == COPY_KIND
