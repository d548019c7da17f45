"""Whole runs of the two programs on a world that is learned in seconds."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.files import Checkpoints
from rl.models import Decoder, Tokenizer
from rl.studies import gradient_weight
from rl.studies.gradient_weight import measure_gradient_weight
from rl.tasks import ChainSum
from rl.trainers.parts import make_engine
from rl.trainers.policy import train_policy
from rl.trainers.rollouts import collate
from rl.trainers.supervised import supervised_update, train_base
from rl.types import Completion, Rollout
from tests.tiny import decoder, run_config

# The base model drops in so much filler that most responses hit the limit; leaving it out is
# learned in a dozen steps, and then every other answer modulo 2 is right by chance.
WORLD: dict[str, Any] = {
    "task.modulus": 2,
    "task.digits": [3, 4],
    "base.digits": [3, 4],
    "base.text": {"solved": {"3": 1.0, "4": 1.0}, "filler": 0.4},
    "base.steps": 120,
    "base.batch_size": 32,
    "rollout.max_new_tokens": 12,
    "rollout.prompts": 16,
    "rollout.group_size": 16,
    "steps": 16,
    "optim.lr": 0.004,
    "eval.every": 8,
    "eval.problems_per_difficulty": 4,
    "eval.samples": 32,
    "study.samples": 512,
    "study.direction_samples": 64,
}
TASK = ChainSum(modulus=2, digits=(3, 4))
TOKENS = Tokenizer(TASK.alphabet)
Program = Callable[..., int]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """Trained by the real thing, in about two seconds."""
    losses: list[float] = []
    config = run_config(WORLD)
    model = train_base(
        config.base,
        task=TASK,
        tokenizer=TOKENS,
        engine_config=config.engine,
        checkpoints=Checkpoints(tmp_path_factory.mktemp("base")),
        report=lambda _, loss: losses.append(loss),
    )
    assert len(losses) == 120
    assert losses[-1] < 0.6 * losses[0]
    return model


def logged(
    program: Program,
    directory: Path,
    model: Decoder,
    changes: dict[str, Any] | None = None,
    seed: int = 0,
) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]], int]:
    """Metrics by step, samples, and the tokens that the run says it sampled."""
    config = run_config({**WORLD, **(changes or {})})
    with RunWriter(directory, {"arm": "arm", "seed": seed}) as log:
        tokens = program(config, seed=seed, model=deepcopy(model), log=log, report=lambda *_: None)
    steps: dict[int, dict[str, Any]] = {}
    for record in read_lines(directory / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record["values"])
    return steps, read_lines(directory / "samples.jsonl"), tokens


@pytest.fixture(scope="module")
def learnt(base: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return logged(train_policy, tmp_path_factory.mktemp("learnt") / "run", base)


def test_accuracy_rises(learnt: Any) -> None:
    """From about .25 to .5; with the advantages' sign flipped it falls to 0."""
    steps, _, _ = learnt
    first, last = steps[0], steps[16]
    assert last["eval/accuracy"] > first["eval/accuracy"] + 0.12
    assert last["eval/truncated"] < first["eval/truncated"] - 0.3
    late = sum(steps[step]["train/reward"] for step in range(8, 16)) / 8
    assert late > steps[0]["train/reward"] + 0.1


def test_everything_is_logged_at_its_step(learnt: Any) -> None:
    steps, samples, tokens = learnt
    assert sorted(steps) == list(range(17))
    assert [s for s in steps if "eval/accuracy" in steps[s]] == [0, 8, 16]
    assert all("train/reward" in steps[s] for s in range(16))
    assert "train/reward" not in steps[16]
    rows = 16 * 16
    evaluated = 32 * len(TASK.heldout_problems(4, seed=7))
    total = sum(rows * steps[s]["train/response_tokens"] for s in range(16))
    total += sum(evaluated * steps[s]["eval/response_tokens"] for s in (0, 8, 16))
    assert tokens == pytest.approx(total)
    for step in range(16):
        values = steps[step]
        assert values["train/update_norm"] > 0
        assert values["train/lr"] == 0.004
        assert values["train/logp_gap_max"] < 1e-4
        assert 0 < values["train/entropy"] < 3
        assert set(values["train/reward_by_difficulty"]) <= {"3.0", "4.0"}
    by_difficulty = steps[0]["eval/accuracy_by_difficulty"]
    assert steps[0]["eval/accuracy"] == pytest.approx(sum(by_difficulty.values()) / 2)
    assert [(s["step"], s["difficulty"]) for s in samples] == [(0, 3), (0, 4), (16, 3), (16, 4)]
    assert [s["prompt"] for s in samples[:2]] == [s["prompt"] for s in samples[2:]]
    for sample in samples:
        right = sample["text"].replace(".", "").endswith(f"#{sample['answer']}")
        assert sample["reward"] == float(right and sample["finish_reason"] == "stop")


def test_run_is_reproducible_bit_for_bit(learnt: Any, base: Decoder, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # no global generator enters
    again = logged(train_policy, tmp_path / "run", base)
    assert again == learnt


def test_arms_share_prompts_and_sampling_seeds(learnt: Any, base: Decoder, tmp_path: Path) -> None:
    """Common random numbers: before any update, arms that differ in advantages alone agree."""
    changes = {"advantage.scale": "group_std", "steps": 2}
    other, samples, _ = logged(train_policy, tmp_path / "other", base, changes)
    steps = learnt[0]
    for key in steps[0]:
        differs = key in ("train/loss", "train/grad_norm", "train/update_norm")
        differs |= key == "train/weight_by_difficulty"
        assert (other[0][key] != steps[0][key]) == differs, key
    assert samples[:2] == learnt[1][:2]
    assert other[1]["train/reward"] != steps[1]["train/reward"]


def test_seeds_differ_in_everything_but_the_held_out_prompts(
    learnt: Any, base: Decoder, tmp_path: Path
) -> None:
    other, samples, _ = logged(train_policy, tmp_path / "other", base, {"steps": 1}, seed=1)
    assert other[0]["eval/response_tokens"] != learnt[0][0]["eval/response_tokens"]
    assert other[0]["train/response_tokens"] != learnt[0][0]["train/response_tokens"]
    assert [s["prompt"] for s in samples[:2]] == [s["prompt"] for s in learnt[1][:2]]


def test_reward_scale_is_absorbed_by_the_std_alone(base: Decoder, tmp_path: Path) -> None:
    """Tenfold rewards: the gradient is tenfold without a scale, and the same (up to eps, 1e-4
    of a std of about .4) with the group's std."""
    norms: dict[tuple[str, float], float] = {}
    rewards: dict[tuple[str, float], float] = {}
    for kind in ("none", "group_std"):
        for scale in (1.0, 10.0):
            changes = {"advantage.scale": kind, "reward.scale": scale, "steps": 1}
            steps, _, _ = logged(train_policy, tmp_path / f"{kind}{scale}", base, changes)
            norms[kind, scale] = steps[0]["train/grad_norm"]
            rewards[kind, scale] = steps[0]["train/reward"]
            assert 0 < steps[0]["eval/accuracy"] < 1  # not in units of the scale
    assert rewards["none", 10.0] == pytest.approx(10 * rewards["none", 1.0])
    assert rewards["none", 1.0] == rewards["group_std", 1.0]
    assert norms["none", 10.0] == pytest.approx(10 * norms["none", 1.0], rel=1e-5)
    assert norms["group_std", 10.0] == pytest.approx(norms["group_std", 1.0], rel=1e-3)
    assert norms["group_std", 1.0] > 1.5 * norms["none", 1.0]


STUDY: dict[str, Any] = {
    "program": "gradient_weight",
    "base.text": {"solved": {"3": 1.0, "4": 1.0}, "filler": 0.0},
    "base.optim.lr": 0.01,
    "task.digits": [3],
    "reward.name": "solution",
    "study.samples": 2048,
}


@pytest.fixture(scope="module")
def exact_base() -> Decoder:
    """A model that knows two responses to each held-out problem, one right, two times in five."""
    config = run_config({**WORLD, **STUDY})
    model = decoder(modulus=2)
    engine = make_engine(model, config.base.optim, config.engine, 200)
    pairs = []
    for problem in ChainSum(modulus=2, digits=(3,)).heldout_problems(4, seed=0):
        right = TASK.solution(problem)
        wrong = right.replace("#0", "#x").replace("#1", "#0").replace("#x", "#1")
        for text in (right, right, wrong, wrong, wrong):
            ids = (*TOKENS.encode(text), TOKENS.eos_id)
            pairs.append((TOKENS.encode(problem.prompt), ids))
    for _ in range(200):
        supervised_update(engine, pairs, 64, TOKENS.pad_id)
    engine.close()
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"reward.scale": 10.0},
        {"advantage.scale": "group_std", "reward.scale": 10.0},
        {"rollout.temperature": 1.5},
    ],
)
def test_measured_weight_is_the_exact_one(
    changes: dict[str, Any], exact_base: Decoder, tmp_path: Path
) -> None:
    """2048 samples a problem: the sampled side comes within 15% of the exact one. They share no
    sample, so that a sign, a shift or a temperature that is wrong on one side shows."""
    before = {name: w.clone() for name, w in exact_base.state_dict().items()}
    steps, samples, tokens = logged(
        measure_gradient_weight, tmp_path / "run", exact_base, {**STUDY, **changes}
    )
    assert list(steps) == [0]
    assert samples == []
    values = steps[0]
    scaled = "advantage.scale" in changes
    p, measured, exact = (values[f"weight/{x}"]["3.0"] for x in ("p", "measured", "exact"))
    assert 0.1 < p < 0.9
    assert measured == pytest.approx(exact, rel=0.15)
    by_hand = changes.get("reward.scale", 1.0) * p * (1 - p) * (1 - 1 / 16)
    if scaled:  # sqrt(p (1-p)) at most, and the expected std of a group is less
        assert 0.2 < exact < 0.52
    else:
        assert exact == pytest.approx(by_hand, rel=0.35)  # p differs between problems
    assert tokens > 2048 * 8
    assert len(values["weight/curve"]) == 99
    assert all(torch.equal(before[name], w) for name, w in exact_base.state_dict().items())


def test_slopes_are_those_of_autograd(exact_base: Decoder) -> None:
    """Central differences along v against the gradient's product with v, response by response."""
    config = run_config({**WORLD, **STUDY})
    problems = TASK.heldout_problems(4, seed=3)
    texts = [TASK.solution(problem)[:-1] + "0" for problem in problems]
    rollouts = []
    for problem, text in zip(problems, texts, strict=True):
        ids = (*TOKENS.encode(text), TOKENS.eos_id)
        completion = Completion(ids, (0.0,) * len(ids), "stop")
        rollouts.append(Rollout(problem, 0, TOKENS.encode(problem.prompt), completion, text))
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(w.shape, generator=generator) for w in exact_base.parameters()]
    direction = gradient_weight._unit(noise)
    assert float(sum((v**2).sum() for v in direction)) == pytest.approx(1.0)
    batch = collate(rollouts, torch.ones(len(rollouts)), TOKENS.pad_id)
    slope_B = gradient_weight._directional_derivative(exact_base, batch, direction, config)
    for i, rollout in enumerate(rollouts):
        one = collate([rollout], torch.ones(1), TOKENS.pad_id)
        gradient = gradient_weight._gradient(exact_base, one, config)
        expected = sum(float((g * v).sum()) for g, v in zip(gradient, direction, strict=True))
        assert float(slope_B[i]) == pytest.approx(expected, rel=0.02, abs=1e-3)
        assert abs(expected) > 0.02


def test_curve_is_the_weight_by_hand_and_scales_with_the_reward(tmp_path: Path) -> None:
    """Group mean: p (1-p) (1-1/G), times the reward's scale."""
    small = {"study.samples": 16, "study.direction_samples": 2, "study.problems_per_difficulty": 1}
    for scale in (1.0, 10.0):
        steps, _, _ = logged(
            measure_gradient_weight,
            tmp_path / f"run{scale}",
            decoder(modulus=2),
            {**small, "reward.scale": scale},
        )
        curve = steps[0]["weight/curve"]
        for p in (0.05, 0.5, 0.9):
            assert curve[str(p)] == pytest.approx(scale * p * (1 - p) * (1 - 1 / 16), rel=1e-9)


def test_problems_without_both_kinds_of_samples_give_no_weight(tmp_path: Path) -> None:
    """Within two tokens nothing can be right: no direction, and no number that claims one."""
    small = {"study.samples": 16, "study.direction_samples": 4, "rollout.max_new_tokens": 2}
    steps, _, _ = logged(measure_gradient_weight, tmp_path / "run", decoder(modulus=2), small)
    for name in ("weight/p", "weight/measured", "weight/exact"):
        assert steps[0][name] == {}
