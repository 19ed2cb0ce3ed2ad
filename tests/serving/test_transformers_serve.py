"""`prosocial serve`: each request is guided by its own preference, or refused; never answered unguided."""

import json
import sys

import pytest
import torch
from openai import APIStatusError, OpenAI
from support.servers import free_port, started
from typer.testing import CliRunner

from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.cli import app
from hf_prosocial.models import find_base
from hf_prosocial.serving import assemble, serve_command

PROSOCIAL = "from hf_prosocial.cli import app; app()"
MESSAGES = [{"role": "user", "content": "i lost my cat"}]


@pytest.fixture(scope="module")
def server(saved_arm, tmp_path_factory):
    base, arm = saved_arm
    port = free_port()
    options = ["--arm", str(arm), "-p", "empathy=0.75,helpfulness=0.25", "--beta", "2"]
    flags = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-c", PROSOCIAL, "serve", str(base), *options, "--", *flags]
    folder = tmp_path_factory.mktemp("served")
    with started(command, port, folder / "log", HF_HOME=str(folder / "hf-home")) as url:
        # An error closes the connection, which the client may find out by its next request alone.
        yield OpenAI(base_url=url, api_key="none", max_retries=1, timeout=120)


def asked(server, **generation):
    (model,) = server.models.list().data
    extra = {"generation_config": json.dumps({"do_sample": False, **generation})} if generation else {}
    return (
        server.chat.completions.create(
            model=model.id, messages=MESSAGES, max_tokens=12, temperature=0, extra_body=extra
        )
        .choices[0]
        .message.content
    )


def expected(saved_arm, preference, beta):
    model, tokenizer = find_base(saved_arm[0]).load()
    processor = ProSocialProcessor(load_arm(saved_arm[1], model), preference, beta=beta)
    inputs = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=12, do_sample=False)
    return tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_requests_are_guided_by_their_own_preference(server, saved_arm):
    (model,) = server.models.list().data
    assert "guided-by-empathy=0.75-helpfulness=0.25-at-beta-2" in model.id
    default = Preference(empathy=0.75, helpfulness=0.25)
    for given, preference, beta in (
        ({}, default, 2),
        ({"preference": {"truthfulness": 1}}, Preference.one_hot("truthfulness"), 2),
        ({"preference": {"sensitivity": 1}, "beta": 0.5}, Preference.one_hot("sensitivity"), 0.5),
        ({"beta": 0}, default, 0),
        ({}, default, 2),
    ):
        assert asked(server, **given) == expected(saved_arm, preference, beta), given


def test_a_wrong_preference_is_answered_by_an_error(server):
    for wrong in ({"empathy": 0.5}, {"wit": 1}, "empathy=1", None, {"empathy": "much"}):
        with pytest.raises(APIStatusError):
            asked(server, preference=wrong)
    assert asked(server) == asked(server)


def test_flags_that_drop_guidance_are_refused(saved_arm, tmp_path):
    folder = assemble(*saved_arm, Preference.uniform(), 1.0, folder=tmp_path / "served")
    assert (folder / "config.json").resolve() == (saved_arm[0] / "config.json").resolve()
    unasked = assemble(*saved_arm, Preference.uniform(), 0.0)
    assert "guided-where-a-request-asks" in unasked.name
    assert serve_command(folder, ["--port", "8001"])[-2:] == ["--port", "8001"]
    for flag in ("--continuous-batching", "--continuous_batching", "--cb-block-size"):
        with pytest.raises(ValueError, match="would answer unguided; leave it out"):
            serve_command(folder, [flag])
    result = CliRunner().invoke(
        app, ["serve", str(saved_arm[0]), "--arm", str(saved_arm[1]), "--", "--continuous-batching"]
    )
    assert (result.exit_code, "would answer unguided" in result.output) == (1, True)


def test_an_arm_of_another_base_is_refused(saved_arm, tmp_path):
    with pytest.raises(ValueError, match="beta must be"):
        assemble(*saved_arm, Preference.uniform(), -1.0, folder=tmp_path / "served")
    with pytest.raises(ValueError, match="base_weights"):
        assemble(None, saved_arm[1], Preference.uniform(), 1.0, folder=tmp_path / "served")
    assert not (tmp_path / "served").exists()
