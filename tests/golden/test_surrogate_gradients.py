"""The study of policy losses, beside loops over two tokens of two kinds."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import SurrogateLossConfig, program_config
from rl.errors import UserError
from rl.studies import surrogate_gradients as study
from rl.tabular.worlds import tree_world
from tests.tiny import changed

torch.set_num_threads(1)  # another number of threads sums in another order

# One prompt; the first token's chance of being 0, and the second's after either first token.
OLD, NEW = (0.6, (0.3, 0.8)), (0.7, (0.25, 0.9))
REWARD = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 0.0, (1, 1): 2.0}
BOUND = {"dual_clip": 3.0, "cispo": 1.05, "truncated_is": 1.1}


def chance(policy, place, prefix, token):
    zero = policy[0] if place == 0 else policy[1][prefix]
    return zero if token == 0 else 1 - zero


def weight(name, ratios, old, advantage, place):
    """Of grad log pi(token) in the response's estimate: minus d loss / d log pi, worked out.

    With two tokens and bounds of .2.
    """
    w, whole = ratios[place], ratios[0] * ratios[1]
    mean = math.sqrt(whole)
    out = {
        ratio: (ratio > 1.2 and advantage > 0) or (ratio < 0.8 and advantage < 0)
        for ratio in (w, mean)
    }
    return {
        "reinforce": advantage,
        "unclipped": w * advantage,
        "clipped": 0.0 if out[w] else w * advantage,
        "dual_clip": 0.0 if out[w] or (advantage < 0 and w > 3) else w * advantage,
        "gspo": 0.0 if out[mean] else mean * advantage,
        "cispo": min(w, 1.05) * advantage,
        "sequence_is": whole * advantage,
        "truncated_is": min(whole, 1.1) * advantage,
        "log_over_log": advantage / math.log(old[place]),
        "no_stop_gradient": 0.0,
    }[name]


def by_hand(name):
    """(mean of g_hat, trace of its covariance, g) over the logits of 3 contexts x 2 tokens."""
    responses = list(itertools.product((0, 1), repeat=2))

    def whole(policy, y):
        return chance(policy, 0, 0, y[0]) * chance(policy, 1, y[0], y[1])

    value = sum(whole(OLD, y) * REWARD[y] for y in responses)
    mean, second, exact = [0.0] * 6, 0.0, [0.0] * 6
    for y in responses:
        new = [chance(NEW, 0, 0, y[0]), chance(NEW, 1, y[0], y[1])]
        old = [chance(OLD, 0, 0, y[0]), chance(OLD, 1, y[0], y[1])]
        ratios = [n / o for n, o in zip(new, old, strict=True)]
        h = [0.0] * 6
        for place in (0, 1):
            context = 0 if place == 0 else 1 + y[0]
            c = weight(name, ratios, old, REWARD[y] - value, place)
            for token in (0, 1):
                score = (token == y[place]) - chance(NEW, place, y[0], token)
                h[2 * context + token] += c * score
                exact[2 * context + token] += whole(NEW, y) * REWARD[y] * score
        mean = [m + whole(OLD, y) * x for m, x in zip(mean, h, strict=True)]
        second += whole(OLD, y) * sum(x * x for x in h)
    return mean, second - sum(m * m for m in mean), exact


def pair():
    rewards = torch.tensor([[REWARD[y] for y in sorted(REWARD)]], dtype=torch.float64)
    world = tree_world(rewards, torch.tensor([0]), vocabulary=2, length=2)
    old, new = (
        torch.tensor(
            [[math.log(p), math.log(1 - p)] for p in (policy[0], *policy[1])], dtype=torch.float64
        )
        for policy in (OLD, NEW)
    )
    return world, old, new


def settings(name):
    return SurrogateLossConfig(name=name, clip_low=0.2, clip_high=0.2, bound=BOUND.get(name))


@pytest.mark.parametrize("name", sorted(set(BOUND) | {
    *("reinforce", "unclipped", "clipped", "gspo", "sequence_is", "log_over_log"),
    "no_stop_gradient",
}))  # fmt: skip
def test_gradients_and_traces_by_enumeration(name):
    world, old, new = pair()
    rows = study.list_rows(world, old)
    mean, trace, exact = by_hand(name)
    found = study.mean_gradient(rows, old, new, settings(name), rows.chance_B)
    assert found.flatten().tolist() == pytest.approx(mean, rel=1e-12, abs=1e-15)
    assert study.exact_gradient(world, new).flatten().tolist() == pytest.approx(exact, rel=1e-12)
    told = study.covariance_trace(world, rows, old, new, settings(name))
    assert told == pytest.approx(trace, rel=1e-12, abs=1e-15)


def test_shares_and_effective_samples_by_enumeration():
    world, old, new = pair()
    rows = study.list_rows(world, old)
    # E_old[W^2] = sum p^2 / q over the four responses.
    square = sum(
        (NEW[0] if a == 0 else 1 - NEW[0]) ** 2 * chance(NEW, 1, a, b) ** 2
        / ((OLD[0] if a == 0 else 1 - OLD[0]) * chance(OLD, 1, a, b))
        for a in (0, 1) for b in (0, 1)
    )  # fmt: skip
    assert study.effective_samples(world, rows, old, new) == pytest.approx(1 / square, rel=1e-12)
    # Ratios: first 7/6 or 3/4; second .25/.3 = 5/6, .75/.7, .9/.8 = 9/8, .1/.2 = 1/2. E_old[r] =
    # .18 + 2 * .08 = .34. Below .8: first token 1 (A < 0 after 0, > 0 after 1) and second 1 | 1.
    shares = study.clip_shares(rows, old.log_softmax(1), new.log_softmax(1), settings("clipped"))
    assert shares == pytest.approx(
        {
            "above_positive": 0.0,
            "above_negative": 0.0,
            "below_positive": 0.08 * 2 / 2,  # (1, 1): both of its tokens
            "below_negative": 0.32 / 2,  # (1, 0): the first of its tokens
        }
    )


RUN: dict[str, Any] = {
    "program": "surrogate_gradients",
    "steps": 2,
    "world": {"prompts": 2, "vocabulary": 3, "length": 2, "entropy": 0.8, "rewards": "graded"},
    "loss": {"name": "unclipped", "clip_low": 0.2, "clip_high": 0.2, "bound": None},
    "distances": [0.0, 0.3],
    "samples": 4000,
}


def measured(directory: Path, changes: dict[str, Any] | None = None) -> dict[str, dict[str, float]]:
    config = program_config(changed(RUN, changes), "test")
    folder = directory / str(len(list(directory.iterdir())))
    with RunWriter(folder, {"arm": "a", "seed": 3}) as log:
        tokens = study.measure_surrogate_gradients(
            config, seed=3, log=log, report=lambda _step, _value: None
        )
    assert tokens == 4000 * 2 * 2
    (record,) = read_lines(folder / "metrics.jsonl")
    return {name.removeprefix("surrogate/"): x for name, x in record["values"].items()}


def test_one_policy_has_one_gradient_and_two_have_many(tmp_path: Path) -> None:
    names = ("unclipped", "clipped", "dual_clip", "cispo", "sequence_is", "truncated_is")
    found = {
        name: measured(tmp_path, {"loss.name": name, "loss.bound": BOUND.get(name)})
        for name in names
    }
    for name in names:
        assert found[name]["kl"]["0.3"] == pytest.approx(0.3, rel=1e-9)
        assert found[name]["from_reinforce"]["0.0"] == 0.0  # bit for bit
        assert found[name]["bias"]["0.0"] < 1e-12
        assert found[name]["from_reinforce"]["0.3"] > 0.01
        assert found[name]["sampled_recovered"]["0.3"] == pytest.approx(
            found[name]["recovered"]["0.3"], abs=0.15
        )
    assert found["sequence_is"]["bias"]["0.3"] < 1e-12
    assert found["unclipped"]["bias"]["0.3"] > 0.05
    assert found["unclipped"]["trace"]["0.3"] < found["sequence_is"]["trace"]["0.3"]


def test_the_broken_losses(tmp_path: Path) -> None:
    wrong = measured(tmp_path, {"loss.name": "log_over_log"})
    assert max(wrong["cosine"].values()) < -0.2
    none = measured(tmp_path, {"loss.name": "no_stop_gradient"})
    assert set(none["norm_ratio"].values()) == {0.0}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distances": [0.1, 0.1]}, "distances: expected distinct levels"),
        ({"distances": [-0.1]}, "greater than or equal to 0"),
        ({"loss.bound": 2.0}, "loss.bound"),
        ({"world.length": 12}, "at most 100000 listed responses"),
        ({"world.entropy": 1.2}, "entropy below"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        program_config(changed(RUN, changes), "test")
