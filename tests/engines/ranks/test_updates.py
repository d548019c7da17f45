"""Two ranks take the updates of one: the same weights, gradient norms and metrics, at every stage.

The gradient is a sum over micro-batches, which two ranks add up in another order, and ZeRO 3 goes
through transformers' own forward pass: fp32 agrees to some 1e-6 of a value, and weights to 1e-5
after steps that move them by up to 0.3.
"""

import re
from functools import cache
from typing import Any, get_args

import pytest
import torch

from rl.config.update import LossName
from tests.engines.ranks import updates
from tests.engines.ranks.conftest import Cases
from tests.engines.ranks.updates import PLAIN, UNEVEN, Found
from tests.test_preferences import OFFLINE
from tests.tiny import RUN

pytestmark = pytest.mark.engines

STAGES = [0, 1, 2, 3]
MODES = ["sequence_mean", "token_mean", "constant"]
BOUNDS = {"dual_clip": 3.0, "cispo": 5.0, "truncated_is": 2.0}
CLOSE = {"rel": 2e-5, "abs": 2e-6}


def agree(one: Any, two: Any, where: str) -> None:
    """Numbers, by name where they have names, within CLOSE."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for name, value in one.items():
            agree(value, two[name], f"{where} {name}")
    else:
        assert two == pytest.approx(one, **CLOSE), where


def check(alone: Found, shared: list[Found], where: str) -> None:
    """Both ranks against one."""
    for rank, found in enumerate(shared):
        for step, ((weights, said), (ours, told)) in enumerate(
            zip(alone["steps"], found["steps"], strict=True)
        ):
            at = f"{where}, rank {rank}, step {step}"
            torch.testing.assert_close(
                ours, weights, rtol=0, atol=1e-5, msg=lambda m, at=at: f"{at}: {m}"
            )
            agree(said, told, at)


@cache
def policy_alone(name: str, mode: str) -> Found:
    return updates.policy(changes(name, mode), stage=0)


def changes(name: str, mode: str) -> dict[str, Any]:
    return {
        "loss.name": name,
        "loss.bound": BOUNDS.get(name),
        "loss.aggregate": mode,
        "optim": PLAIN,
    }


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", get_args(LossName))
def test_every_policy_loss_and_aggregate(name: str, stage: int, on_two_ranks: Cases) -> None:
    """Three micro-batches: one rank has two of them and the other one."""
    for mode in MODES:
        alone = policy_alone(name, mode)
        assert alone["parts"] == 3
        moved = float((alone["steps"][-1][0] - alone["steps"][0][0]).norm())
        assert (moved > 1e-3) == (name != "no_stop_gradient")  # whose gradient is 0
        shared = on_two_ranks(updates.policy, changes(name, mode), stage=stage)
        check(alone, shared, f"{name} {mode}")


@pytest.mark.parametrize("stage", [0, 3])
def test_a_corrected_gap(stage: int, on_two_ranks: Cases) -> None:
    """The policy leaves the one that sampled behind, and the correction grows."""
    loss = {**RUN["loss"], "aggregate": "token_mean", "gap_cap": 1.01}
    asked = {"loss": loss, "optim": PLAIN}
    alone = updates.policy(asked, stage=0)
    assert 0 < alone["steps"][-1][1]["train/gap_weight_capped"] < 1
    check(alone, on_two_ranks(updates.policy, asked, stage=stage), "corrected")


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize(("micro_tokens", "parts"), [(1, 12), (30, 5)], ids=["even", "odd"])
def test_however_the_batch_is_cut(
    micro_tokens: int, parts: int, stage: int, on_two_ranks: Cases
) -> None:
    asked = changes("clipped", "token_mean")
    alone = updates.policy(asked, stage=0, micro_tokens=micro_tokens)
    assert alone["parts"] == parts
    shared = on_two_ranks(updates.policy, asked, stage=stage, micro_tokens=micro_tokens)
    check(alone, shared, f"{parts} parts")


@pytest.mark.parametrize("stage", STAGES)
def test_a_rank_without_a_row_of_its_own_adds_nothing(stage: int, on_two_ranks: Cases) -> None:
    """One row has an advantage, so that there is one micro-batch."""
    named = {"advantages": [0.0, 0.0, 0.7, *[0.0] * 9]}
    asked = changes("clipped", "sequence_mean")
    alone = updates.policy(asked, stage=0, **named)
    assert alone["steps"][0][1]["train/grad_norm"] > 1e-3
    check(alone, on_two_ranks(updates.policy, asked, stage=stage, **named), "one row")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stage", STAGES)
def test_denominators_are_those_of_all_ranks(stage: int, mode: str, on_two_ranks: Cases) -> None:
    """One response has 10 tokens and each of the others one: a mean over the tokens of a rank, or
    a mean of such means, would be far off."""
    asked = changes("clipped", mode)
    alone = updates.policy(asked, stage=0, lengths=UNEVEN)
    check(alone, on_two_ranks(updates.policy, asked, stage=stage, lengths=UNEVEN), mode)


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_several_minibatches_and_epochs_and_a_clipped_gradient(
    stage: int, on_two_ranks: Cases
) -> None:
    asked = {
        **changes("clipped", "token_mean"),
        "loss.epochs": 2,
        "loss.minibatches": 2,
        "loss.old_logps": "trainer",
    }
    alone = updates.policy(asked, stage=0, grad_clip=0.02)
    assert alone["steps"][0][1]["train/grad_norm"] > 0.04
    check(alone, on_two_ranks(updates.policy, asked, stage=stage, grad_clip=0.02), "clipped")


@pytest.mark.parametrize("stage", STAGES)
def test_bf16_is_near(stage: int, on_two_ranks: Cases) -> None:
    """8 bits, also where gradients are summed over ranks; after an update they may tip over."""
    asked = changes("clipped", "constant")
    (_, alone), *_ = updates.policy(asked, stage=stage, precision="bf16")["steps"]
    for found in on_two_ranks(updates.policy, asked, stage=stage, precision="bf16"):
        (_, shared), *_ = found["steps"]
        for name in ("train/grad_norm", "train/loss"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-3)


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize("kind", ["head", "separate"])
def test_policy_and_critic(kind: str, stage: int, on_two_ranks: Cases) -> None:
    asked = {
        "loss.aggregate": MODES[stage % 3],
        "loss.epochs": 2,
        "advantage.whiten": "minibatch",
    }
    alone = updates.ppo(kind, asked, stage=0)
    assert alone["steps"][0][1]["ppo/value_loss"] > 1e-3
    check(alone, on_two_ranks(updates.ppo, kind, asked, stage=stage), kind)


@pytest.mark.parametrize("stage", [0, 1, 3])
@pytest.mark.parametrize("method", OFFLINE)
def test_preference_losses(method: str, stage: int, on_two_ranks: Cases) -> None:
    alone = updates.preferences(method, stage=0)
    check(alone, on_two_ranks(updates.preferences, method, stage=stage), method)


@pytest.mark.parametrize("stage", STAGES)
def test_supervised_loss(stage: int, on_two_ranks: Cases) -> None:
    check(updates.supervised(stage=0), on_two_ranks(updates.supervised, stage=stage), "texts")


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("loss", ["bradley_terry", "direct_assessment"])
def test_reward_model_losses(loss: str, stage: int, on_two_ranks: Cases) -> None:
    alone = updates.reward_model(loss, stage=0)
    shared = on_two_ranks(updates.reward_model, loss, stage=stage)
    check(alone, shared, loss)
    for found in shared:
        torch.testing.assert_close(found["scores"], alone["scores"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_a_gradient_that_is_not_finite_stops_all_ranks(stage: int, on_two_ranks: Cases) -> None:
    for said in on_two_ranks(updates.not_finite, stage=stage):
        assert re.fullmatch(r"gradient norm is (nan|inf); lower optim.lr or clip gradients", said)
