"""Reward models: what they learn, whatever the tokenizer, the batches and the moment of a kill."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rl.artifacts import SAME, RunWriter, read_lines
from rl.config import EngineConfig, RewardModelConfig, TaskConfig, program_config
from rl.data import VARIABLE
from rl.engine import Engine
from rl.errors import UserError
from rl.metrics import METRICS
from rl.models import ByteTokenizer, Decoder, new_decoder
from rl.rewards import Reward, exact
from rl.trainers import preference_pairs, reward_members
from rl.trainers.parts import make_task, make_tokenizer
from rl.trainers.preference_pairs import sampled_pairs
from rl.trainers.reward_members import Member, batch_places, rollout_scores
from rl.trainers.reward_model import train_reward_model
from rl.types import Completion, Problem, Rollout
from tests.tiny import MODEL, OPTIM, RUN, changed

SORTING: dict[str, Any] = {"name": "sorting", "modulus": 3, "digits": [2]}
RUN_SAMPLED: dict[str, Any] = {
    "program": "reward_model",
    "steps": 3,
    "data": {
        "name": "sampled",
        "gold": "position",
        "temperature": 1.0,
        "max_new_tokens": 5,
        "scale": "hard",
        "flip": 0.0,
        "attempts": 6,
        "heldout": {"problems_per_difficulty": 2, "pairs_per_problem": 20, "seed": 7},
    },
    "task": SORTING,
    "base": {**RUN["base"], "digits": [2], "text": {"solved": {"2": 0.5}, "filler": 0.0}},
    "scratch": None,
    "pairs": 12,
    "batch_pairs": 4,
    "context": 32,
    "prompt_at_least": 3,
    "loss": "bradley_terry",
    "ensemble": {"members": 1, "combine": "mean"},
    "optim": {**OPTIM, "lr": 3e-3},
    "eval_every": 2,
    "bins": 4,
}
RUN_PUBLISHED: dict[str, Any] = {
    **RUN_SAMPLED,
    "data": {
        "name": "published",
        "dataset": "someone/kind-words",
        "layout": "hh",
        "subset": None,
        "split": "train",
        "revision": "0" * 40,
        "folds": 3,
    },
    "task": None,
    "base": None,
    "scratch": MODEL,
    "context": 48,
}
Steps = dict[int, dict[str, Any]]


def config(settings: dict[str, Any], changes: dict[str, Any] | None = None) -> RewardModelConfig:
    found = program_config(changed(settings, changes), "test")
    assert isinstance(found, RewardModelConfig)
    return found


def base(seed: int = 0) -> Decoder:
    """A random writer of short responses."""
    task = make_task(TaskConfig.model_validate(SORTING, strict=False))
    return new_decoder(make_tokenizer(task), **MODEL, seed=seed)


@dataclass
class Trained:
    steps: Steps
    members: list[Member]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """Metrics by step without their prefix, and the models."""

    def run(
        settings: dict[str, Any], changes: dict[str, Any] | None = None, seed: int = 0
    ) -> Trained:
        made: list[Member] = []

        class Watched(Member):
            def __init__(self, *args: Any, **how: Any) -> None:
                super().__init__(*args, **how)
                made.append(self)

        monkeypatch.setattr(reward_members, "Member", Watched)
        monkeypatch.setattr(Engine, "close", lambda _: None)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        asked = config(settings, changes)
        model = base() if asked.task else None
        with RunWriter(folder, {"arm": "a", "seed": seed}) as log:
            train_reward_model(asked, seed=seed, log=log, report=lambda *_: None, model=model)
        return Trained(steps_of(folder), made)

    return run


def steps_of(folder: Path) -> Steps:
    steps: Steps = {}
    for record in read_lines(folder / "metrics.jsonl"):
        values = {k.removeprefix("reward_model/"): v for k, v in record["values"].items()}
        steps.setdefault(record["step"], {}).update(values)
    return steps


@pytest.fixture
def kind_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of dialogues; the kind response is chosen, the longer in three of four pairs."""
    rows = []
    for i in range(120):
        asked = f"\n\nHuman: {i * 7919 % 1000}?\n\nAssistant:"
        kind, rude = " fine" + "!" * (0 if i % 4 == 0 else 3), " away" + "!" * (i % 4 == 0)
        rows.append({"chosen": asked + kind, "rejected": asked + rude})
    folder = tmp_path / "data" / "someone" / "kind-words"
    folder.mkdir(parents=True)
    with gzip.open(folder / "train.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "data"))


@pytest.mark.usefixtures("kind_words")
@pytest.mark.parametrize("loss", ["bradley_terry", "direct_assessment"])
def test_learns_what_can_be_learned(train: Callable[..., Trained], loss: str) -> None:
    """And a loss with its sign turned would learn the opposite."""
    run = train(RUN_PUBLISHED, {"steps": 24, "pairs": 60, "batch_pairs": 12, "loss": loss})
    last = run.steps[24]
    assert last["accuracy"] > 0.95
    assert last["train_accuracy"] > 0.95
    assert last["margin_mean"] > 1
    assert last["over_length_rules"] == pytest.approx(
        last["accuracy"] - run.steps[0]["longer_accuracy"]
    )
    assert 0.6 < run.steps[0]["longer_accuracy"] < 0.9
    assert run.steps[0]["longer_accuracy"] + run.steps[0]["shorter_accuracy"] == 1
    assert run.steps[23]["loss"] < 0.5 < run.steps[0]["loss"]
    assert "gold_accuracy" not in last


@pytest.mark.usefixtures("kind_words")
def test_turned_losses_are_caught(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = reward_members.bradley_terry

    def turned(chosen_B: Tensor, rejected_B: Tensor, *, margin_B: None) -> Tensor:
        return right(rejected_B, chosen_B, margin_B=margin_B)

    monkeypatch.setattr(reward_members, "bradley_terry", turned)
    last = train(RUN_PUBLISHED, {"steps": 24, "pairs": 60, "batch_pairs": 12}).steps[24]
    assert last["accuracy"] < 0.05


LONGER = {
    "steps": 24,
    "pairs": 128,
    "batch_pairs": 16,
    "eval_every": 100,
    "data.max_new_tokens": 9,
    "data.heldout": {"problems_per_difficulty": 2, "pairs_per_problem": 400, "seed": 7},
}


def test_labels_that_are_half_turned_teach_nothing(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is judged is easy: is there a 0 in the response? True labels teach it."""
    easy = Reward(lambda _, rollout: float("0" in rollout.text), 1.0, exact)
    monkeypatch.setattr(preference_pairs, "REWARDS", {"position": easy})
    clean = train(RUN_SAMPLED, LONGER).steps[24]
    assert clean["gold_accuracy"] > 0.95
    run = train(RUN_SAMPLED, {**LONGER, "data.flip": 0.5})
    noisy, pairs = run.steps[24], run.steps[0]["heldout_pairs"]
    assert pairs > 150
    # Four times the spread of a share of the held-out pairs.
    assert abs(noisy["accuracy"] - 0.5) < 4 * 0.5 / pairs**0.5
    # Of a coin every prediction but 1/2 is too sure: by the true chances to the digit.
    sure = sum(noisy["predicted"][k] * noisy["in_bin"][k] for k in noisy["predicted"])
    assert noisy["chance_error"] == pytest.approx(sure - 0.5, abs=1e-9)


@pytest.mark.parametrize(("flip", "agreed"), [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5)])
def test_labels_agree_with_gold_as_often_as_they_are_not_turned(
    flip: float, agreed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = Reward(lambda _, rollout: float("0" in rollout.text), 1.0, exact)
    monkeypatch.setattr(preference_pairs, "REWARDS", {"position": easy})
    asked = config(RUN_SAMPLED, {**LONGER, "data.flip": flip})
    task = make_task(TaskConfig.model_validate(SORTING, strict=False))
    assert asked.data.name == "sampled"
    tokenizer = make_tokenizer(task)
    pairs = sampled_pairs(asked, asked.data, task=task, model=base(), reader=tokenizer, seed=0)
    assert pairs.gap_B is not None
    apart_B = pairs.gap_B[pairs.gap_B != 0]
    assert len(apart_B) > 60
    spread = (agreed * (1 - agreed) / len(apart_B)) ** 0.5
    assert abs(float((apart_B > 0).double().mean()) - agreed) <= 4 * spread


@pytest.mark.parametrize("combine", ["mean", "lowest"])
def test_scores_are_centred(train: Callable[..., Trained], combine: str) -> None:
    """Each member's on the training responses; the mean of members is too, the lowest is below."""
    run = train(RUN_SAMPLED, {"ensemble": {"members": 3, "combine": combine}})
    last = run.steps[3]["reference_score"]
    assert last == pytest.approx(0, abs=1e-6) if combine == "mean" else last < -1e-3
    assert run.steps[3]["disagreement"] > 0
    assert all(float(member.model.head.bias.detach().abs()) > 0 for member in run.members)
    assert "reference_score" not in run.steps[0]


def test_members_differ_in_head_and_order_and_agree_on_the_base(
    train: Callable[..., Trained],
) -> None:
    one, two = train(RUN_SAMPLED, {"ensemble.members": 2, "optim.lr": 1e-30}).members
    assert not torch.equal(one.model.head.weight, two.model.head.weight)
    pairs = zip(one.model.decoder.parameters(), base().parameters(), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-20) for a, b in pairs)
    rows = [(3, 4, 6, 1), (5, 5, 6, 4, 1)]
    alone = train(RUN_SAMPLED, {"optim.lr": 1e-30}).members[0]
    # A member is what it would be alone.
    assert torch.equal(one.scores(rows), alone.scores(rows))
    both = rollout_scores([one, two], rollouts(), how="mean", **OWN)
    each = [rollout_scores([member], rollouts(), how="mean", **OWN) for member in (one, two)]
    assert torch.allclose(both, (each[0] + each[1]) / 2, atol=1e-12)
    lowest = rollout_scores([one, two], rollouts(), how="lowest", **OWN)
    assert torch.equal(lowest, torch.minimum(*each))


OWN: dict[str, Any] = {"reader": None, "context": 32, "prompt_at_least": 1}


def rollouts() -> list[Rollout]:
    """Of the sorting world: whole, cut off, and with a special token in it."""
    tokenizer = make_tokenizer(make_task(TaskConfig.model_validate(SORTING, strict=False)))
    zero, one, two = tokenizer.encode("012")
    found = []
    for ids, reason in [
        ((zero, two, tokenizer.eos_id), "stop"),
        ((zero, two), "length"),
        ((zero, tokenizer.pad_id, two, tokenizer.eos_id), "stop"),
        ((one, one, tokenizer.eos_id), "stop"),
    ]:
        problem = Problem(0, "20=", "02", 2)
        completion = Completion(ids, tuple(0.0 for _ in ids), reason)  # type: ignore[arg-type]
        prompt = tokenizer.encode(problem.prompt)
        found.append(Rollout(problem, 0, prompt, completion, tokenizer.decode(ids)))
    return found


def test_another_tokenizer_reads_what_was_written(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EOS, truncation and special tokens survive as text: what differs in ids differs there, and
    the ids are those that training pairs have."""
    seen: list[list[tuple[int, ...]]] = []
    (member,) = train(RUN_SAMPLED, {"scratch": MODEL}).members
    scores = member.scores

    def watched(rows: Sequence[tuple[int, ...]]) -> Tensor:
        seen.append(list(rows))
        return scores(rows)

    monkeypatch.setattr(member, "scores", watched)
    reader = ByteTokenizer()
    how: dict[str, Any] = {"context": 32, "prompt_at_least": 1, "how": "mean"}
    found = rollout_scores([member], rollouts(), reader=reader, **how)
    assert len(set(found.tolist())) == 4
    (rows,) = seen
    asked, eos = reader.encode("20="), reader.eos_id
    assert rows == [
        (*asked, *reader.encode("02"), eos),
        (*asked, *reader.encode("02")),
        (*asked, *reader.encode("0<pad>2"), eos),
        (*asked, *reader.encode("11"), eos),
    ]
    assert [reader.decode(row) for row in rows] == ["20=02", "20=02", "20=0<pad>2", "20=11"]
    # A prompt is cut at its start, a response never.
    cut = {**how, "context": 5}
    rollout_scores([member], rollouts()[:1], reader=reader, **cut)
    assert seen[-1] == [(*asked[1:], *reader.encode("02"), eos)]
    with pytest.raises(ValueError, match="raise context"):
        rollout_scores([member], rollouts()[:1], reader=reader, **{**how, "context": 3})


def test_pairs_are_whole_nested_and_judged_by_the_gold() -> None:
    asked = config(RUN_SAMPLED, {"pairs": 300})
    task = make_task(TaskConfig.model_validate(SORTING, strict=False))
    assert asked.data.name == "sampled"
    how: dict[str, Any] = {"task": task, "model": base(), "reader": make_tokenizer(task)}
    many = sampled_pairs(asked, asked.data, **how, seed=0)
    few = sampled_pairs(config(RUN_SAMPLED), asked.data, **how, seed=0)
    assert few.train == many.train[:12]
    assert few.heldout == many.heldout
    other = sampled_pairs(config(RUN_SAMPLED), asked.data, **how, seed=1)
    assert other.heldout == few.heldout
    assert other.train != few.train
    assert many.gap_B is not None
    assert many.chance_B is not None
    assert bool((many.gap_B >= 0).all())
    assert float(many.gap_B.max()) > 0
    assert {0.5, 1.0} == set(many.chance_B.tolist())
    assert many.drawn["reward_model/unfinished"] > 0
    eos = make_tokenizer(task).eos_id
    for pair in many.train:
        for ids in (pair.chosen_ids, pair.rejected_ids):
            assert ids[-1] == eos
            assert len(ids) <= 5
        assert pair.chosen_ids != pair.rejected_ids


def test_every_pair_comes_once_an_epoch() -> None:
    seen = [place for step in range(15) for place in batch_places(10, 4, 3, 0, step)]
    for epoch in range(6):
        assert sorted(seen[10 * epoch : 10 * (epoch + 1)]) == list(range(10))
    assert len({tuple(seen[10 * e : 10 * (e + 1)]) for e in range(6)}) == 6
    assert batch_places(10, 4, 3, 1, 0) != seen[:4]
    assert Counter(batch_places(3, 3, 0, 0, 2)) == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("loss", ["bradley_terry", "direct_assessment"])
def test_micro_batches_change_no_update(train: Callable[..., Trained], loss: str) -> None:
    whole = train(RUN_SAMPLED, {"loss": loss})
    parts = train({**RUN_SAMPLED, "engine": {"micro_batch_tokens": 1}}, {"loss": loss})
    for step in range(3):
        for name in ("loss", "grad_norm"):
            assert parts.steps[step][name] == pytest.approx(whole.steps[step][name], rel=1e-4)
    assert parts.steps[3]["margin_mean"] == pytest.approx(whole.steps[3]["margin_mean"], rel=1e-3)


def test_logs_every_metric_and_no_other(train: Callable[..., Trained]) -> None:
    logged = {
        f"reward_model/{name}" for values in train(RUN_SAMPLED).steps.values() for name in values
    }
    assert logged == {name for name, metric in METRICS.items() if metric.program == "reward_model"}


def test_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    asked = config(RUN_SAMPLED, {"ensemble.members": 2, "eval_every": 1})
    facts = {**dict.fromkeys(SAME, "same"), "arm": "a", "seed": 0, "started": "now"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with RunWriter(whole, facts) as log:
        train_reward_model(asked, seed=0, log=log, report=lambda *_: None, model=base())

    def stop(step: int, _: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        RunWriter(cut, facts, checkpoint_seconds=0) as log,
    ):
        train_reward_model(asked, seed=0, log=log, report=stop, model=base())
    told: list[int] = []
    with RunWriter(cut, facts) as log:
        assert log.checkpoint is not None
        train_reward_model(
            asked, seed=0, log=log, report=lambda step, _: told.append(step), model=base()
        )
    assert told == [3]
    name = "metrics.jsonl"
    assert (cut / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "changes", "told"),
    [
        (RUN_SAMPLED, {"batch_pairs": 13}, "batch_pairs"),
        (RUN_SAMPLED, {"prompt_at_least": 32}, "prompt_at_least"),
        (RUN_SAMPLED, {"base": None}, "data sampled"),
        (RUN_SAMPLED, {"task": None}, "data sampled"),
        (RUN_SAMPLED, {"data.gold": "answer"}, "data.gold"),
        (RUN_SAMPLED, {"task.digits": [2, 3]}, "task.digits"),
        (RUN_SAMPLED, {"data.flip": 0.6}, "flip"),
        (RUN_SAMPLED, {"data.scale": "soft"}, "scale"),
        (RUN_SAMPLED, {"ensemble.members": 0}, "members"),
        (RUN_PUBLISHED, {"scratch": None}, "data published"),
        (RUN_PUBLISHED, {"task": SORTING}, "data published"),
        ({**RUN_SAMPLED, "engine": {"precision": "bf16"}}, {}, "engine"),
        ({**RUN_SAMPLED, "engine": {"zero_stage": 3}}, {}, "engine"),
    ],
)
def test_faults_are_told(settings: dict[str, Any], changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(settings, changes)


def test_a_base_model_is_asked_for_where_there_is_a_task() -> None:
    made = config(RUN_SAMPLED).base_model()
    assert made is not None
    assert made.engine == EngineConfig()
    assert config(RUN_PUBLISHED).base_model() is None


@pytest.mark.usefixtures("kind_words")
def test_too_few_pairs_are_told(train: Callable[..., Trained]) -> None:
    with pytest.raises(UserError, match="ask for fewer"):
        train(RUN_PUBLISHED, {"pairs": 119})
    with pytest.raises(UserError, match="raise context"):
        train(RUN_PUBLISHED, {"context": 9})


def test_a_writer_of_one_response_is_told(train: Callable[..., Trained]) -> None:
    with pytest.raises(UserError, match="no pair"):
        train(RUN_SAMPLED, {"data.max_new_tokens": 1})


def test_no_setting_has_a_default() -> None:
    for key in RUN_SAMPLED:
        less = deepcopy(RUN_SAMPLED)
        del less[key]
        with pytest.raises(UserError):
            program_config(less, "test")
