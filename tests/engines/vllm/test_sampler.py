"""vLLM in this process: whose weights it has, whose probabilities it reports, what seeds decide."""

import math
import os
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
import torch
from scipy.stats import chisquare

from rl.config import EngineConfig, OptimConfig
from rl.errors import UserError
from rl.models import Decoder
from rl.rollout import Request
from rl.rollout.vllm_engine import VllmEngine, architecture_of
from rl.trainers.parts import engine_for
from tests.engines.vllm.models import (
    LIMIT,
    PROMPTS,
    REQUESTS,
    SETTINGS,
    TOKENS,
    gap,
    sampled,
    small,
    vllm,
)
from tests.tiny import OPTIM

pytestmark = pytest.mark.engines

OPTIMISER = OptimConfig.model_validate(OPTIM, strict=False)

# Measured at most 3e-6 on the models below; single precision keeps 6e-8 of logits up to 10.
TOLERANCE = 2e-5


def moved(model: Decoder, seed: int) -> None:
    """An update of every weight, as large as it takes for log-probs to move by tenths."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize(
    ("tied", "architecture"), [(True, "qwen2"), (False, "qwen2"), (True, "llama")]
)
def test_new_weights_are_the_trainers_update_after_update(tied: bool, architecture: str) -> None:
    """A head that stayed behind, as one does where tied weights come under one name, would be off
    by more with every update."""
    model = small(seed=3, tie_embeddings=tied, architecture=architecture)
    seen = []
    with vllm(model) as sampler:
        for update in range(4):
            completions = sampled(sampler, REQUESTS)
            assert gap(model, REQUESTS, completions, 1.0) < TOLERANCE
            seen.append([c.token_ids for c in completions])
            moved(model, update)
            assert gap(model, REQUESTS, completions, 1.0) > 0.05, "there is something to tell"
            sampler.load_weights(model.state_dict())
    assert all(one != two for one, two in pairwise(seen))


@pytest.mark.parametrize("temperature", [0.5, 0.7, 2.0])
def test_log_probs_are_those_of_the_sampling_temperature(temperature: float) -> None:
    model = small(seed=2)
    with vllm(model) as sampler:
        completions = sampled(sampler, REQUESTS, temperature=temperature)
    assert gap(model, REQUESTS, completions, temperature) < TOLERANCE
    assert gap(model, REQUESTS, completions, 1.0) > 0.05, "at temperature 1 they would be others"


def test_a_seed_decides_a_completion_alone_batched_and_in_any_order() -> None:
    with vllm(small(seed=1)) as sampler:
        straight = sampled(sampler, REQUESTS)
        assert sampled(sampler, REQUESTS) == straight
        assert len({c.token_ids for c in straight}) > 30  # there is something to tell apart
        assert [sampled(sampler, [request])[0] for request in REQUESTS] == straight
        order = Random(0).sample(range(len(REQUESTS)), k=len(REQUESTS))
        shuffled = sampled(sampler, [REQUESTS[i] for i in order])
        assert shuffled == [straight[i] for i in order]
        other = sampled(sampler, [Request(r.prompt_ids, r.seed + 500) for r in REQUESTS])
        assert other != straight
        assert sampled(sampler, []) == []


def test_more_than_the_cache_holds_is_sampled_in_parts_to_the_same_bits() -> None:
    """Left to itself vLLM begins requests anew that it has no room for, and reads long prompts in
    pieces; its CPU build fails at both where a request has a seed."""
    model = small(seed=1)
    prompt = tuple(Random(1).choices(PROMPTS[2], k=100))
    requests = [Request(prompt, seed) for seed in range(140)]  # 14,000 tokens of prompts
    with vllm(model) as sampler:
        assert sampler._holder._blocks < 140 * 4  # type: ignore[attr-defined]
        long = sampled(sampler, requests, max_new_tokens=400, ignore_eos=True)
        some = requests[3::45]
        assert sampled(sampler, some, max_new_tokens=400, ignore_eos=True) == long[3::45]
    assert gap(model, requests[::20], long[::20], 1.0) < TOLERANCE


def test_draws_follow_the_distribution() -> None:
    """First tokens of 2,000 seeds against the exact probabilities."""
    model, count = small(seed=4), 2000
    requests = [Request(PROMPTS[1], seed) for seed in range(count)]
    with vllm(model) as sampler:
        completions = sampled(sampler, requests, max_new_tokens=1)
    tokens = torch.tensor([[*PROMPTS[1]]])
    with torch.no_grad():
        p_V = torch.softmax(model(tokens).logits[0, -1].double(), dim=0)
    seen_V = torch.bincount(torch.tensor([c.token_ids[0] for c in completions]), minlength=len(p_V))
    assert chisquare(seen_V.numpy(), count * p_V.numpy()).pvalue > 0.001


def test_reasons_and_limits_are_those_of_the_local_sampler() -> None:
    """EOS belongs to its response and stops it; the reason stays `stop` where it was the last
    token that was allowed, and where it did not end the response."""
    limits = [None, 1, 3, 40]
    requests = [Request(r.prompt_ids, r.seed, limits[i % 4]) for i, r in enumerate(REQUESTS)]
    with vllm(small(seed=1)) as sampler:
        ended = sampled(sampler, requests)
        whole = sampled(sampler, requests, ignore_eos=True)
        pairs = zip(requests, ended, strict=True)
        exact = [Request(r.prompt_ids, r.seed, len(c.token_ids)) for r, c in pairs]
        assert sampled(sampler, exact) == ended
    reasons = set()
    for request, short, long in zip(requests, ended, whole, strict=True):
        limit = min(request.max_new_tokens or LIMIT, LIMIT)
        assert len(long.token_ids) == len(long.logps) == limit
        stops = TOKENS.eos_id in long.token_ids
        assert long.finish_reason == short.finish_reason == ("stop" if stops else "length")
        end = long.token_ids.index(TOKENS.eos_id) + 1 if stops else limit
        assert short.token_ids == long.token_ids[:end]
        assert short.logps == long.logps[:end]
        reasons.add(short.finish_reason)
    assert reasons == {"stop", "length"}
    assert all(math.isfinite(logp) and logp <= 0 for c in whole for logp in c.logps)


def test_two_architectures_in_turn_and_nothing_of_the_process_is_changed() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_")}
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    for layers in (1, 3, 1):
        model = small(seed=5, layers=layers)
        with vllm(model) as sampler:
            assert gap(model, REQUESTS, sampled(sampler, REQUESTS), 1.0) < TOLERANCE
        # The trainer's engine lives in the same process, and its group of processes must too.
        stepped = engine_for(torch.nn.Linear(2, 1), OPTIMISER, EngineConfig(), 1)
        stepped.update([lambda stepped=stepped: stepped.model(torch.ones(1, 2)).sum()])
        stepped.close()
    assert {k: v for k, v in os.environ.items() if not k.startswith("VLLM_")} == environment
    assert (torch.set_num_threads, torch.get_num_threads()) == (set_threads, threads)


def test_what_vllm_cannot_do_is_told() -> None:
    with vllm(small()) as sampler:
        with pytest.raises(UserError, match=r"temperature: expected 0\.01 or more .* got 0\.001"):
            sampled(sampler, REQUESTS, temperature=0.001)
        with pytest.raises(UserError, match=r"expected 512 tokens at most.* got 2 .* and 511 new"):
            sampled(sampler, [REQUESTS[0]], max_new_tokens=511)
        assert len(sampled(sampler, [REQUESTS[0]])) == 1, "it goes on"
    many = small(layers=24)
    few = replace(SETTINGS, kv_cache_mib=1)
    with pytest.raises(UserError, match=r"kv_cache_mib: expected 4 or more .* 512 tokens, got 1"):
        VllmEngine(architecture_of(many), few)
    with pytest.raises(UserError, match=r"got 16 .*; choose other"), vllm(small(hidden_size=32)):
        pass
