"""Several threads answer different people at a time, each under a preference of its own."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.genarm_models import NAMES, random_genarm
from support.generation import prompts
from support.models import random_arm, random_base

from hf_prosocial import GenArmProcessor, GuidedModel, Preference, ProSocialProcessor, SpeculativeGuidedModel
from hf_prosocial.models import sharing_weights
from hf_prosocial.preference import OBJECTIVES

THREADS, REQUESTS = 8, 32


def requests(names=OBJECTIVES):
    drawn = random.Random(7)
    asked = [(prompts(rows=1, length=4 + seed % 5, seed=seed), drawn.choice(names)) for seed in range(REQUESTS)]
    return [(inputs, Preference.one_hot(name, objectives=names)) for inputs, name in asked]


def text(model, inputs, **options):
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=8, do_sample=False, **options).tolist()


def check(answer, asked):
    alone = [answer(*request) for request in asked]
    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(lambda request: answer(*request), asked))
    assert together == alone


@pytest.fixture
def pair():
    base = random_base("llama", seed=1)
    return base, random_arm("llama", seed=2, base=sharing_weights(base))


def test_a_processor_a_request(pair):
    base, arm = pair
    arm.set_preference(Preference.uniform())
    check(lambda inputs, p: text(base, inputs, logits_processor=[ProSocialProcessor(arm, p)]), requests())


def test_one_processor_for_all(pair):
    base, arm = pair
    shared = ProSocialProcessor(arm, Preference.one_hot("empathy"))
    check(lambda inputs, p: text(base, inputs, logits_processor=[shared]), requests())


def test_one_processor_with_several_rows_a_preference(pair):
    base, arm = pair
    shared = ProSocialProcessor(arm, [Preference.one_hot("empathy")])
    check(lambda inputs, p: text(base, inputs, logits_processor=[shared], num_beams=3), requests())


def test_a_guided_model_whose_requests_pass_a_preference(pair):
    guided = GuidedModel(*pair, Preference.uniform())
    check(lambda inputs, p: text(guided, inputs, preference=p), requests())


def test_a_guided_model_whose_preference_every_request_sets(pair):
    guided = GuidedModel(*pair, Preference.uniform())

    def answer(inputs, p):
        guided.set_preference(p)
        return text(guided, inputs)

    check(answer, requests())


def test_a_thread_that_set_no_preference_is_refused_where_another_did(pair):
    guided = GuidedModel(*pair, Preference.one_hot("empathy"))
    inputs = prompts(rows=1)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(text, guided, inputs).result() == text(guided, inputs)
        guided.set_preference(Preference.uniform())
        with pytest.raises(ValueError, match=r"pass generate\(\.\.\., preference=\.\.\.\)"):
            threads.submit(text, guided, inputs).result()
        uniform = text(guided, inputs)
        assert threads.submit(text, guided, inputs, preference=Preference.uniform()).result() == uniform


def test_tasks_of_an_event_loop(pair):
    guided = GuidedModel(*pair, Preference.uniform())
    asked = requests()[:16]
    alone = [text(guided, inputs, preference=p) for inputs, p in asked]

    async def answer(inputs, p):
        guided.set_preference(p)
        await asyncio.sleep(0.001)
        return await asyncio.to_thread(text, guided, inputs)

    async def together():
        return await asyncio.gather(*(answer(*request) for request in asked))

    assert asyncio.run(together()) == alone


def test_genarm(pair):
    base, _ = pair
    genarm = random_genarm("llama", seed=2)
    check(lambda inputs, p: text(base, inputs, logits_processor=[GenArmProcessor(genarm, p)]), requests(NAMES)[:16])


def test_one_speculative_model_for_all(pair):
    base, _ = pair
    guided = SpeculativeGuidedModel(base, random_arm("llama", seed=5), Preference.one_hot("empathy"))
    check(lambda inputs, p: text(guided, inputs), requests()[:16])
