"""The harness, by its own command line, on tasks of its own files: what it reports is the guided model's."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from support.models import PAD, random_base, tiny_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.decoding import GuidedPair
from hf_prosocial.integrations.lm_eval import ProSocialLM

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)
CHOICES = [
    {"question": "i am sad", "choices": [" so what", " i am sorry", " go away"], "answer": 1},
    {"question": "can you help", "choices": [" no idea", " hurry up", " you can ask me"], "answer": 2},
    {"question": "i lost my cat", "choices": [" that is hard", " not my job"], "answer": 0},
]
CHOICE = """task: kindness
dataset_path: json
dataset_kwargs:
  data_files: {folder}/questions.jsonl
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: ""
metric_list:
  - metric: acc
"""
WRITING = """task: reply
dataset_path: json
dataset_kwargs:
  data_files: {folder}/questions.jsonl
test_split: train
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs:
  until: ["!"]
  max_gen_toks: 6
  do_sample: false
metric_list:
  - metric: exact_match
"""


@pytest.fixture
def tasks(tmp_path):
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, CHOICES)))
    (tmp_path / "kindness.yaml").write_text(CHOICE.format(folder=tmp_path))
    (tmp_path / "reply.yaml").write_text(WRITING.format(folder=tmp_path))
    return tmp_path


def harness(tasks, *model_args, options=("--device", "cpu", "--batch_size", "2")):
    """Samples by task."""
    command = [sys.executable, "-c", "from hf_prosocial.cli import app; app()", "lm-eval", "--model", "prosocial"]
    command += ["--model_args", ",".join(model_args), "--tasks", "kindness,reply", "--include_path", str(tasks)]
    command += ["--output_path", str(tasks / "out"), "--log_samples", *options]
    environment = os.environ | {"HF_DATASETS_CACHE": str(tasks / "cache"), "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for file in (tasks / "out").rglob("samples_*.jsonl"):
        samples = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.name.split("_")[1]] = sorted(samples, key=lambda sample: sample["doc_id"])
    return found


def guided_log_probs(base, arm, ids):
    arm.set_preference(PREFERENCE)
    with torch.no_grad():
        both = base(ids).logits.float().log_softmax(-1) + 0.8 * arm(ids).logits.float().log_softmax(-1)
    return both.log_softmax(-1)


def check(found, base, arm, tokenizer):
    for sample, row in zip(found["kindness"], CHOICES, strict=True):
        prompt = tokenizer(row["question"])["input_ids"]
        for choice, response in zip(row["choices"], sample["resps"], strict=True):
            ids = torch.tensor([tokenizer(row["question"] + choice)["input_ids"]])
            log_probs = guided_log_probs(base, arm, ids)[0, len(prompt) - 1 : -1]
            expected = log_probs.gather(-1, ids[0, len(prompt) :, None]).sum().item()
            assert float(response[0][0]) == pytest.approx(expected, abs=1e-3)
    processor = ProSocialProcessor(arm, PREFERENCE, beta=0.8)
    for sample, row in zip(found["reply"], CHOICES, strict=True):
        ids = torch.tensor([tokenizer(row["question"])["input_ids"]])
        output = base.generate(ids, logits_processor=[processor], max_new_tokens=6, do_sample=False)
        text = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert sample["resps"][0][0] == text.split("!")[0]


def test_multiple_choice_and_generation_are_guided(tasks, saved_arm):
    base, arm = saved_arm
    preference = "preference=empathy=0.7+truthfulness=0.3"
    found = harness(tasks, f"base={base}", f"arm={arm}", preference, "beta=0.8")
    model = random_base("llama", seed=1)
    check(found, model, load_arm(arm, model, tokenizer=tiny_tokenizer()), tiny_tokenizer())


def test_an_edited_base_is_guided_by_an_arm_on_the_original(tasks, saved_arm):
    original, arm = saved_arm
    edited = random_base("llama", seed=1)
    with torch.no_grad():
        edited.model.layers[0].mlp.up_proj.weight.mul_(1.3)
    edited.save_pretrained(tasks / "edited")
    tiny_tokenizer().save_pretrained(tasks / "edited")
    preference = "preference=empathy=0.7+truthfulness=0.3"
    found = harness(tasks, f"base={tasks / 'edited'}", f"arm_base={original}", f"arm={arm}", preference, "beta=0.8")
    check(found, edited, load_arm(arm, original, tokenizer=tiny_tokenizer()), tiny_tokenizer())


def test_a_pair_has_the_processors_distribution_and_loss(base, arm, tokenizer):
    pair = GuidedPair(base, arm, PREFERENCE, beta=0.8, tokenizer=tokenizer)
    ids = torch.randint(3, 61, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, :2], ids[1, :2] = 0, PAD
    labels = ids.masked_fill(mask == 0, -100)
    with torch.no_grad():
        output = pair(ids, attention_mask=mask, labels=labels)
        arm.set_preference(PREFERENCE)
        expected = base(ids, attention_mask=mask).logits.log_softmax(-1)
        expected = (expected + 0.8 * arm(ids, attention_mask=mask).logits.log_softmax(-1)).log_softmax(-1)
    torch.testing.assert_close(output.logits[mask.bool()], expected[mask.bool()], atol=1e-4, rtol=1e-4)
    picked = expected[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)[labels[:, 1:] != -100]
    torch.testing.assert_close(output.loss, -picked.mean(), atol=1e-4, rtol=1e-4)
    ours = pair.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    processor = ProSocialProcessor(arm, PREFERENCE, beta=0.8, prompt_attention_mask=mask)
    theirs = base.generate(ids, attention_mask=mask, logits_processor=[processor], max_new_tokens=5, do_sample=False)
    assert ours.tolist() == theirs.tolist()
    with pytest.raises(ValueError, match="beta must be"):
        GuidedPair(base, arm, PREFERENCE, beta=-1.0)
    with arm.disable_adapter(), pytest.raises(ValueError, match="adapter is disabled"):
        pair(ids)
    with pytest.raises(ValueError, match="in training mode"):
        GuidedPair(base, arm.train(), PREFERENCE).train()(ids)


def test_the_harness_own_options(tasks, saved_arm):
    """Its default device, which is not here; a batch size that it finds; and the token that begins a text."""
    original, arm = saved_arm
    base = shutil.copytree(original, tasks / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    bos = tokenizer.bos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(base)
    args = (f"base={base}", f"arm={arm}", "preference=empathy=0.7+truthfulness=0.3", "beta=0.8", "add_bos_token=True")
    options = ("--device", "cuda", "--batch_size", "auto")
    found = harness(tasks, *args, "trust_remote_code=True", options=options)
    model = random_base("llama", seed=1)
    check(found, model, load_arm(arm, model, tokenizer=tokenizer), tokenizer)


def test_arguments_that_nothing_reads(saved_arm):
    base, arm = saved_arm
    with pytest.raises(ValueError, match=r"--model_args has peft, which nothing reads; there are base, arm,"):
        ProSocialLM.create_from_arg_string(f"base={base},arm={arm},peft=x")
    with pytest.raises(ValueError, match="--model_args: beta: "):
        ProSocialLM.create_from_arg_string(f"base={base},arm={arm},beta=much")
    with pytest.raises(ValueError, match="--model_args: arm: Field required"):
        ProSocialLM.create_from_arg_string(f"base={base}")
