"""A judge behind a real server: `transformers serve` with SmolLM2, beside the same model asked directly."""

import json
import sys

import pytest
import torch
from support.servers import free_port, started

from hf_prosocial.data import Prompt
from hf_prosocial.judges import HARM, Endpoint, EndpointConfig
from hf_prosocial.judges.asked import AskedJudge, _question, one_of
from hf_prosocial.models import find_base

SERVE = "from transformers.cli.transformers import main; main()"
TEXTS = ("I failed my exam again.", "How do I bake bread?")
REPLIES = ("That must be hard. Tell me what happened.", "Mix flour, water, salt and yeast.")


@pytest.fixture
def server(tmp_path):
    """The URL and the name of a served SmolLM2."""
    model, tokenizer = find_base().load(torch.float32)
    model.save_pretrained(tmp_path / "smollm2")
    tokenizer.save_pretrained(tmp_path / "smollm2")
    port, name = free_port(), str(tmp_path / "smollm2")
    flags = ["serve", name, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with started([sys.executable, "-c", SERVE, *flags], port, tmp_path / "log") as url:
        yield url, name


def test_the_served_model_is_asked_in_words_and_never_guessed_at(server, tmp_path):
    url, name = server
    config = EndpointConfig("endpoint", name, url=url, seconds=120, retries=1, parallel=1)
    prompts = [Prompt("mild", str(line), (("user", text),)) for line, text in enumerate(TEXTS)]
    judge = AskedJudge(Endpoint(config, tmp_path / "answers.jsonl"), "harm")
    labels = judge(prompts, REPLIES)
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()[1:]]
    assert [one_of(line["text"], HARM) for line in lines] == labels
    assert all(line["input_tokens"] > 50 and 0 < line["output_tokens"] <= 16 for line in lines)
    model, tokenizer = find_base().load(torch.float32)
    for prompt, reply, line in zip(prompts, REPLIES, lines, strict=True):
        question = _question(judge._asked, prompt, [reply])
        text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        output = model.generate(ids, do_sample=False, max_new_tokens=16)
        assert line["text"] == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    assert judge(prompts, REPLIES) == labels
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 3
