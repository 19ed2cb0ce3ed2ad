"""vLLM with our plug-in gives GuidedModel's tokens, whatever the requests beside; run by `make test-serve`."""

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from peft import get_peft_model
from support.models import BOS, VOCABULARY, randomise, tiny_tokenizer
from support.servers import free_port, started
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

vllm = pytest.importorskip("vllm")

from openai import APIStatusError, OpenAI  # noqa: E402

from hf_prosocial import OBJECTIVES, GuidedModel, PBLoraConfig, Preference, find_base, load_arm  # noqa: E402
from hf_prosocial.arm.base_record import record_base  # noqa: E402
from hf_prosocial.serving import GuidedRequest, vllm_arguments, vllm_command, vllm_settings  # noqa: E402

TOKENS = 12
PROSOCIAL = "from hf_prosocial.cli import app; app()"
# vLLM's attention on a processor takes heads of 32 and more.
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {"llama": LlamaConfig(**SHAPE), "qwen3": Qwen3Config(**SHAPE)}
TARGETS = {
    "llama": ["q_proj", "k_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"],
}
DEFAULT = GuidedRequest(Preference(empathy=0.75, helpfulness=0.25), beta=2.0)


@pytest.fixture(scope="session", params=CONFIGS)
def made(request, tmp_path_factory):
    """Directories of a base and of its ARM."""
    folder, tokenizer = tmp_path_factory.mktemp(request.param), tiny_tokenizer()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[request.param]).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    config = PBLoraConfig(target_modules=TARGETS[request.param], task_type="CAUSAL_LM", r1=2, r2=3)
    arm = get_peft_model(model, config)
    randomise(arm, 3)
    record_base(arm.active_peft_config, arm, tokenizer, str(folder / "base"))
    arm.save_pretrained(str(folder / "arm"))
    return folder / "base", folder / "arm"


def engine(made, **options):
    """An engine in this process."""
    checkpoint, settings = vllm_settings(*made, DEFAULT)
    small = {"dtype": "float32", "block_size": 32, "max_model_len": 200}
    return vllm.LLM(checkpoint, **{**vllm_arguments(settings), **small, **options})


def drawn(count, seed):
    """Requests with preferences, strengths, safe sets, lengths and beginnings at random."""
    generator = random.Random(seed)
    begin = [BOS, *(generator.randrange(3, VOCABULARY) for _ in range(64))]
    found = []
    for _ in range(count):
        ids = begin[: generator.choice((1, 40, 65))]
        ids = [*ids, *(generator.randrange(3, VOCABULARY) for _ in range(generator.randrange(1, 30)))]
        weights = [generator.random() for _ in OBJECTIVES]
        preference = Preference.from_dict(dict(zip(OBJECTIVES, weights, strict=True)), normalize=True)
        request = GuidedRequest(preference, generator.choice((0, 0.3, 1.0, 2.0)), generator.choice((None, None, 0.05)))
        found.append((ids, request))
    return found


def as_fields(request):
    """Without what is None, which vLLM's HTTP fields do not take."""
    return {name: value for name, value in request.fields().items() if value is not None}


def served(llm, requests):
    parameters = [
        vllm.SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, extra_args=as_fields(one))
        for _, one in requests
    ]
    prompts = [{"prompt_token_ids": ids} for ids, _ in requests]
    return [list(one.outputs[0].token_ids) for one in llm.generate(prompts, parameters, use_tqdm=False)]


def expected(made, requests):
    base, _ = find_base(made[0]).load(torch.float32)
    arm = load_arm(made[1], base)
    options = {"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    found = []
    for ids, one in requests:
        guided = GuidedModel(base, arm, one.preference, beta=one.beta, safe_set=one.safe_set)
        with torch.no_grad():
            found.append(guided.generate(torch.tensor([ids]), **options)[0, len(ids) :].tolist())
    return found


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
    command = [sys.executable, "-c", PROSOCIAL, "serve", str(made[0]), *options, "--", *flags]
    with started(command, port, folder / "log", VLLM_ENABLE_V1_MULTIPROCESSING="1") as url:
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


def test_engines_that_would_guide_wrongly_are_refused(made):
    with pytest.raises(Exception, match=r"cannot have compilation and CUDA graphs \(give --enforce-eager\)"):
        engine(made, enforce_eager=False)


def test_two_engines_in_one_process_keep_their_requests_apart(made):
    first, second = engine(made), engine(made)
    requests = drawn(8, seed=3)
    assert served(first, requests) == served(second, requests) == expected(made, requests)


def test_flags_that_guidance_stands_on_are_refused(made):
    checkpoint, settings = vllm_settings(*made, DEFAULT)
    command, environment = vllm_command(checkpoint, settings, ["--port", "1"])
    assert command[-2:] == ["--port", "1"]
    assert json.loads(environment["PROSOCIAL_SERVING"]) == settings
    for flag in ("--scheduler-cls=other", "--logits_processors", "--hf-overrides", "--additional_config={}"):
        with pytest.raises(ValueError, match="guidance stands on it"):
            vllm_command(checkpoint, settings, [flag])
