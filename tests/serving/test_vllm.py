"""vLLM with our plug-in gives GuidedModel's tokens, whatever the requests beside; run by `make test-serve`."""

import copy
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.gates import WHOLE, random_factors
from support.gates import record as gate_record
from support.models import BOS
from support.served import DEFAULT, TOKENS, as_fields, build_arm, build_base, drawn, expected, served
from support.servers import free_port, started

vllm = pytest.importorskip("vllm")

from openai import APIStatusError, OpenAI  # noqa: E402
from vllm.config import CUDAGraphMode  # noqa: E402
from vllm.exceptions import VLLMValidationError  # noqa: E402

from hf_prosocial import Preference, find_base, record_base  # noqa: E402
from hf_prosocial.gate import GatedHarmVector, Probe  # noqa: E402
from hf_prosocial.serving import GuidedRequest, vllm_arguments, vllm_command, vllm_settings  # noqa: E402
from hf_prosocial.serving.vllm.engine_checks import check_engine  # noqa: E402

PROSOCIAL = "from hf_prosocial.cli import app; app()"
HERE = Path(__file__).parent


@pytest.fixture(scope="session", params=["llama", "qwen3"])
def made(request, tmp_path_factory):
    """Directories of a base and of its ARM."""
    folder = tmp_path_factory.mktemp(request.param)
    base = build_base(folder / "base", request.param)
    return base, build_arm(folder / "arm", base, request.param)


def engine(made, **options):
    """An engine in this process."""
    checkpoint, settings = vllm_settings(*made, DEFAULT)
    small = {"dtype": "float32", "block_size": 32, "max_model_len": 200, "enforce_eager": True}
    return vllm.LLM(checkpoint, **{**vllm_arguments(settings), **small, **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_num_batched_tokens": 200, "max_num_seqs": 5, "long_prefill_token_threshold": 24},
        {"num_gpu_blocks_override": 14},
    ],
    ids=["as it is", "chunked prefill", "few blocks"],
)
def test_every_request_has_the_guided_models_tokens(made, options):
    llm, requests = engine(made, **options), drawn(40, seed=1)
    right = expected(made, requests)
    assert served(llm, requests) == right
    assert served(llm, requests) == right  # Now from cached blocks.
    # The same prompts under each other's preferences: no block of another preference is taken.
    turned = [(ids, other) for (ids, _), (_, other) in zip(requests, [*requests[1:], requests[0]], strict=True)]
    assert served(llm, turned) == expected(made, turned)
    assert Preference.uniform() != DEFAULT.preference
    plain = llm.generate(
        [{"prompt_token_ids": requests[0][0]}],
        vllm.SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True),
        use_tqdm=False,
    )
    assert list(plain[0].outputs[0].token_ids) == expected(made, [(requests[0][0], DEFAULT)])[0]


MALFORMED = [
    {"preference": "empathy=0.5"},
    {"preference": "wit=1"},
    {"preference": "empathy=nan"},
    {"preference": "empathy=-1,helpfulness=2"},
    {"preference": ""},
    {"preference": "empathy=1;import os"},
    {"preference": 1},
    {"preference": ["empathy", 1]},
    {"beta": -1},
    {"beta": 1e300},
    {"beta": "one"},
    {"safe_set": 0},
    {"safe_set": 2},
    {"prefrence": "empathy=1"},
]


@pytest.fixture(scope="session")
def server(made, tmp_path_factory):
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    flags = ["--dtype", "float32", "--block-size", "32", "--max-model-len", "200"]
    flags += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "guided"]
    options = ["--arm", str(made[1]), "-p", "empathy=0.75,helpfulness=0.25", "--beta", "2", "--engine", "vllm"]
    environment = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    if "qwen3" in str(made[0]):  # One of the two as two engines behind one port.
        flags += ["--data-parallel-size", "2"]
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "0|1"
    command = [sys.executable, "-c", PROSOCIAL, "serve", str(made[0]), *options, "--", *flags]
    with started(command, port, folder / "log", **environment) as url:
        yield OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120)


def asked(server, ids, fields):
    answer = server.completions.create(
        model="guided",
        prompt=ids,
        max_tokens=TOKENS,
        temperature=0,
        extra_body={"ignore_eos": True, "vllm_xargs": fields, "return_token_ids": True},
    )
    return answer.choices[0].model_extra["token_ids"]


def test_the_server_answers_many_at_once_each_by_its_own(made, server):
    requests = drawn(24, seed=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: asked(server, one[0], as_fields(one[1])), requests))
    assert found == expected(made, requests)


@pytest.mark.parametrize("fields", MALFORMED, ids=json.dumps)
def test_what_cannot_be_honoured_is_refused_and_never_answered(made, server, fields):
    with pytest.raises(APIStatusError) as error:
        asked(server, [BOS, 5, 6], fields)
    assert error.value.status_code == 400
    request = GuidedRequest(Preference.one_hot("truthfulness"), 1.0)
    assert asked(server, [BOS, 5, 6], as_fields(request)) == expected(made, [([BOS, 5, 6], request)])[0]


def test_a_requests_own_mask_stays_where_it_leaves_none_of_the_safe_set(made):
    llm = engine(made)
    fields = {"preference": "truthfulness=1", "safe_set": 1.0}
    allowed = vllm.SamplingParams(temperature=0, max_tokens=6, allowed_token_ids=[40, 41], extra_args=fields)
    (found,) = llm.generate([{"prompt_token_ids": [BOS, 5, 6]}], allowed, use_tqdm=False)
    assert set(found.outputs[0].token_ids) <= {40, 41}


def test_weights_that_are_reloaded_are_refused_and_nothing_follows(made):
    llm = engine(made)
    with pytest.raises(Exception, match="cannot be reloaded"):
        llm.collective_rpc("reload_weights")
    with pytest.raises(Exception, match=r"cannot be reloaded|EngineDead|dead"):
        served(llm, drawn(2, seed=5))


def test_addresses_that_hand_no_preference_on_refuse_one(server):
    body = {"query": "a b", "items": ["c", "d"], "label_token_ids": [5, 6], "vllm_xargs": {"preference": "empathy=1"}}
    with pytest.raises(APIStatusError, match="hands no preference on") as error:
        server.post(str(server.base_url).removesuffix("v1/") + "generative_scoring", cast_to=object, body=body)
    assert error.value.status_code == 400


ASTRAY = [
    {"preference": "empathy=1"},
    {"beta": 2},
    {"extra_args": {"preference": "empathy=1"}},
    {"vllm_xargs": {"beta": 1}, "use_beam_search": True, "n": 2},
]


@pytest.mark.parametrize("body", ASTRAY, ids=json.dumps)
def test_what_the_engine_would_pass_over_is_refused(server, body):
    with pytest.raises(APIStatusError, match=r"vllm_xargs") as error:
        server.completions.create(model="guided", prompt=[BOS, 5, 6], max_tokens=2, extra_body=body)
    assert error.value.status_code == 400


def test_replies_and_counters_tell_what_guided(server):
    given = {"preference": "empathy=1", "beta": 0.5}
    raw = server.completions.with_raw_response.create(
        model="guided", prompt=[BOS, 5, 6], max_tokens=2, extra_body={"vllm_xargs": given}
    )
    assert raw.headers["x-prosocial-guided-by"].startswith("preference=empathy=1.0,")
    assert raw.headers["x-prosocial-guided-by"].endswith("; beta=0.5")
    assert raw.headers["x-prosocial-default"].endswith("; beta=2.0")
    plain = server.completions.with_raw_response.create(
        model="guided", prompt=[BOS, 5, 6], max_tokens=2, extra_body={"vllm_xargs": {"beta": 0}}
    )
    assert plain.headers["x-prosocial-guided-by"] == "preference=none, the base; beta=0.0"
    with urllib.request.urlopen(str(server.base_url).removesuffix("/v1/") + "/metrics") as answer:
        counted = answer.read().decode()
    for name in ('prosocial_requests_total{guidance="on"}', 'prosocial_requests_total{guidance="off"}'):
        assert name in counted
    assert 'prosocial_preference_weight_total{objective="empathy"}' in counted
    assert "prosocial_refused_requests_total" in counted
    names = [model.id for model in server.models.list()]
    assert names == ["guided"]  # The flag was given; without it a second name tells the default.


TWO = {"tensor_parallel_size": 2}
STAGES = {"pipeline_parallel_size": 2}
DRAFTED = {"speculative_config": {"method": "draft_model", "num_speculative_tokens": 2}, "max_num_seqs": 8}
EAGER = {"enforce_eager": True}


@pytest.mark.parametrize(
    ("runner", "kind", "other", "count", "options"),
    [
        pytest.param(1, "llama", None, 40, {}, id="compiled"),
        pytest.param(1, "qwen3", None, 40, TWO, id="tensor parallel"),
        pytest.param(1, "llama", "llama", 40, EAGER, id="two models"),
        pytest.param(1, "small", "llama", 40, {}, id="a smaller ARM, compiled"),
        pytest.param(2, "qwen3", None, 40, {}, id="second runner, compiled"),
        pytest.param(2, "llama", None, 20, {"num_gpu_blocks_override": 14, **EAGER}, id="second runner, few blocks"),
        pytest.param(2, "llama", None, 20, EAGER | {"max_num_batched_tokens": 200, "max_num_seqs": 5}, id="chunks"),
        pytest.param(2, "llama", None, 12, DRAFTED | EAGER, id="drafting by the base"),
        pytest.param(2, "qwen3", None, 12, TWO | EAGER, id="second runner, tensor parallel"),
        pytest.param(2, "llama", None, 12, STAGES, id="pipeline parallel, compiled"),
        pytest.param(2, "small", "llama", 12, EAGER, id="second runner, a smaller ARM"),
        pytest.param(2, "llama", "llama", 12, STAGES | EAGER, id="pipeline parallel, two models"),
    ],
)
def test_runners_and_devices_give_the_same_tokens(runner, kind, other, count, options, tmp_path):
    environment = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"} if TWO.items() <= options.items() else {}
    if STAGES.items() <= options.items():
        environment = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    if runner == 2:  # Its kernels are Triton's, which is interpreted here.
        environment |= {"VLLM_USE_V2_MODEL_RUNNER": "1", "TRITON_INTERPRET": "1"}
        environment |= {"PYTHONPATH": str(HERE / "processor_triton")}
    given = json.dumps([str(tmp_path), kind, other, count, options])
    command = [sys.executable, str(HERE / "compare_engine.py"), given]
    found = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    assert json.loads(found.stdout.splitlines()[-1]) == {"wrong": 0, "second runner": runner == 2}


def test_engines_that_would_guide_wrongly_are_refused(made):
    with pytest.raises(Exception, match=r"LoRA adapters beside the ARM \(leave --enable-lora out\)"):
        engine(made, enable_lora=True)
    config = engine(made).llm_engine.vllm_config
    check_engine(config)
    wrong = {
        "whole CUDA graphs": ("compilation_config", "cudagraph_mode", CUDAGraphMode.FULL_AND_PIECEWISE),
        "two batches at once": ("parallel_config", "enable_dbo", True),
        "contexts split over devices": ("parallel_config", "decode_context_parallel_size", 2),
    }
    for words, (part, name, value) in wrong.items():
        changed = copy.deepcopy(config)
        setattr(getattr(changed, part), name, value)
        with pytest.raises(ValueError, match=words):
            check_engine(changed)


def test_an_arm_that_has_changed_since_it_was_compared_is_refused(made, tmp_path):
    copied = shutil.copytree(made[1], tmp_path / "arm")
    checkpoint, settings = vllm_settings(made[0], copied, DEFAULT)
    file = copied / "adapter_model.safetensors"
    save_file({name: one + 1 for name, one in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(Exception, match="has changed since it was compared with its base"):
        vllm.LLM(checkpoint, **vllm_arguments(settings), dtype="float32", block_size=32, max_model_len=200)


def test_two_engines_in_one_process_keep_their_requests_apart(made):
    first, second = engine(made), engine(made)
    requests = drawn(8, seed=3)
    assert served(first, requests) == served(second, requests) == expected(made, requests)


def test_flags_that_guidance_stands_on_are_refused(made):
    checkpoint, settings = vllm_settings(*made, DEFAULT)
    command, environment = vllm_command(checkpoint, settings, ["--port", "1"])
    assert command[-2:] == ["--port", "1"]
    assert json.loads(environment["PROSOCIAL_SERVING"]) == settings
    assert command[command.index("--served-model-name") + 2].endswith(
        " guided by empathy=0.75,helpfulness=0.25 at beta 2"
    )
    assert '{"cudagraph_mode": "NONE"}' in command
    asked, _ = vllm_command(checkpoint, settings, ["-O2", "--served-model-name", "mine"])
    assert asked.count("--served-model-name") == 1
    assert "--compilation-config" not in asked
    for flag in ("--scheduler-cls=other", "--logits_processors", "--hf-overrides", "--additional_config={}"):
        with pytest.raises(ValueError, match="guidance stands on what"):
            vllm_command(checkpoint, settings, [flag])


def saved_vector(folder, base):
    """A gated vector whose factors are random and whose gate is always open."""
    model, tokenizer = find_base(base).load(torch.float32)
    probe = Probe((1,), np.zeros(model.config.hidden_size, dtype=np.float32), 1.0)
    vector = GatedHarmVector(random_factors(model, seed=5), probe, WHOLE, gate_record(1.0, probe))
    record_base(vector.record, model, tokenizer, str(base))
    vector.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"enforce_eager": False, "compilation_config": {"cudagraph_mode": "NONE"}}])
def test_each_request_has_its_own_multiple_of_the_harm_vector_subtracted(made, tmp_path, options):
    vector = saved_vector(tmp_path / "vector", made[0])
    checkpoint, settings = vllm_settings(*made, DEFAULT, vector=vector)
    small = {"dtype": "float32", "block_size": 32, "max_model_len": 200, "enforce_eager": True}
    llm = vllm.LLM(checkpoint, **{**vllm_arguments(settings), **small, **options})
    scales = (0.0, 0.2, 0.7)
    requests = [(ids, replace(one, harm_scale=scales[at % 3])) for at, (ids, one) in enumerate(drawn(24, seed=4))]
    right = expected(made, requests, vector=vector)
    assert right != expected(made, requests)
    assert served(llm, requests) == right
    assert served(llm, requests) == right  # Now from cached blocks.
    turned = [(ids, replace(one, harm_scale=scales[(at + 1) % 3])) for at, (ids, one) in enumerate(requests)]
    assert served(llm, turned) == expected(made, turned, vector=vector)


def test_a_harm_scale_is_refused_where_there_is_no_vector_to_scale(made):
    llm = engine(made)
    with pytest.raises(VLLMValidationError, match="started without one"):
        served(llm, [([BOS, 5, 6], GuidedRequest(DEFAULT.preference, harm_scale=0.5))])
