"""vLLM in a process of its own: the same completions, also where that process is killed."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from threading import Timer

import pytest

from rl.errors import UserError
from rl.rollout import VllmSampler
from rl.rollout.vllm import close_idle
from tests.engines.vllm.leftovers import is_there, leaving_nothing
from tests.engines.vllm.models import REQUESTS, SETTINGS, TOKENS, gap, sampled, small, vllm

pytestmark = pytest.mark.engines

MANY = REQUESTS * 3
LONG = {"max_new_tokens": 400, "ignore_eos": True}  # of MANY it takes seconds


def pid(sampler: VllmSampler) -> int:
    """Of the process behind it."""
    return sampler._holder.pid  # type: ignore[attr-defined]


def killed_soon(sampler: VllmSampler) -> Timer:
    """Kills it a moment from now."""
    timer = Timer(0.3, os.kill, (pid(sampler), signal.SIGKILL))
    timer.start()
    return timer


@pytest.mark.parametrize("tied", [True, False])
def test_its_completions_are_those_of_the_engine_in_process(tied: bool) -> None:
    models = [small(seed, tie_embeddings=tied) for seed in (6, 7)]
    found = []
    for separate in (True, False):
        place = leaving_nothing() if separate else nullcontext()
        with place, vllm(models[0], separate=separate) as sampler:
            first = sampled(sampler, REQUESTS)
            sampler.load_weights(models[1].state_dict())
            found.append((first, sampled(sampler, REQUESTS, temperature=0.7)))
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_two_processes_hold_half_a_model_each() -> None:
    models = [small(seed, kv_heads=2) for seed in (6, 7)]
    with vllm(models[0]) as sampler:
        expected = sampled(sampler, REQUESTS)
    halves = replace(SETTINGS, tensor_parallel=2)
    with leaving_nothing(), vllm(models[0], separate=True, settings=halves) as sampler:
        found = sampled(sampler, REQUESTS)
        assert [c.token_ids for c in found] == [c.token_ids for c in expected]
        assert gap(models[0], REQUESTS, found, 1.0) < 2e-5
        sampler.load_weights(models[1].state_dict())
        assert gap(models[1], REQUESTS, sampled(sampler, REQUESTS), 1.0) < 2e-5


def test_one_process_serves_sampler_after_sampler_and_ends() -> None:
    pids = set()
    for seed in (6, 7):
        with vllm(small(seed), separate=True) as sampler:
            pids.add(pid(sampler))
    (process,) = pids
    assert is_there(process)
    close_idle()
    assert not is_there(process)


def test_a_killed_engine_is_started_again_once_and_loses_nothing() -> None:
    told: list[str] = []
    with vllm(small(6)) as sampler:
        expected = sampled(sampler, MANY, **LONG)
    with leaving_nothing():
        sampler = VllmSampler(
            small(6),
            eos_id=TOKENS.eos_id,
            settings=SETTINGS,
            separate=True,
            on_restart=told.append,
        )
        timer = killed_soon(sampler)
        first = pid(sampler)
        assert sampled(sampler, MANY, **LONG) == expected
        timer.join()
        assert len(told) == 1
        assert "its process ended with exit code -9" in told[0]
        assert pid(sampler) != first
        assert not is_there(first)
        second = pid(sampler)
        timer = killed_soon(sampler)
        with pytest.raises(UserError, match=r"died twice in one run.* its checkpoint stays"):
            sampled(sampler, MANY, **LONG)
        timer.join()
        assert len(told) == 1
        assert not is_there(second)


def test_what_vllm_refuses_is_told_from_there_too() -> None:
    refused = pytest.raises(UserError, match=r"got 16 .*; choose other")
    with refused, vllm(small(hidden_size=32), separate=True):
        pass
    with vllm(small(), separate=True) as sampler:
        with pytest.raises(UserError, match=r"temperature: expected 0\.01 or more"):
            sampled(sampler, REQUESTS, temperature=0.001)
        assert len(sampled(sampler, [REQUESTS[0]])) == 1, "it goes on"
    close_idle()
