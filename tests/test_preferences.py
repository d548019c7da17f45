"""Learning from pairs: the right gradients of the right pairs, whatever the micro-batches and the
moment of a kill."""

from collections.abc import Callable
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rl.artifacts import SAME, RunWriter, read_lines
from rl.config import PreferencesConfig, TaskConfig, program_config
from rl.config.preferences import COMPARING, SMOOTHED
from rl.data import EncodedPair
from rl.engine import Engine, Update
from rl.errors import UserError
from rl.losses import preference
from rl.losses.preference import LOSSES, Pairs, preference_loss
from rl.metrics import METRICS
from rl.models import Decoder, new_decoder
from rl.rewards import Reward, exact
from rl.seeding import derive
from rl.trainers import evaluation, preference_pairs, scoring
from rl.trainers.evaluation import best_of_each
from rl.trainers.learned_reward import as_program
from rl.trainers.parts import make_engine, make_task, make_tokenizer, micro_batch_tokens
from rl.trainers.preference_batches import Reader
from rl.trainers.preferences import best_of_n_kl, train_preferences, written_pairs
from rl.trainers.reference import Frozen
from rl.trainers.reward_members import batch_places, read_pairs
from rl.trainers.rollouts import local_sampler, roll_out, training_rollouts
from rl.trainers.scoring import make_scorer
from rl.trainers.supervised import supervised_update
from tests.test_reward_model import RUN_SAMPLED, SORTING
from tests.tiny import MODEL, OPTIM, RUN, changed

SAMPLED = {**RUN_SAMPLED["data"], "attempts": 3}
METHOD = {"name": "dpo", "beta": 0.5, "gamma": None, "label_smoothing": 0.0, "labels": None}
PLAIN: dict[str, Any] = {
    "program": "preferences",
    "steps": 3,
    "task": SORTING,
    "base": RUN_SAMPLED["base"],
    "rollout": {**RUN["rollout"], "prompts": 1, "group_size": 1, "max_new_tokens": 5},
    "reward": {"name": "position", "scale": 1.0, "kl": 0.0},
    "optim": OPTIM,
    "eval": {**RUN["eval"], "every": 2, "gold": "position", "base_kl": True},
    "engine": RUN["engine"],
    "method": METHOD,
    "preferences": {
        "data": SAMPLED,
        **{name: RUN_SAMPLED[name] for name in ("pairs", "batch_pairs", "context")},
        "prompt_at_least": 3,
    },
}
APART = ("program", "task", "base", "eval_every")
LEARNED = {k: v for k, v in RUN_SAMPLED.items() if k not in APART} | {"data": SAMPLED}
OFFLINE: dict[str, dict[str, Any]] = {
    "sft": {"method": {**METHOD, "name": "sft", "beta": None}},
    "dpo": {},
    "smoothed": {"method": {**METHOD, "label_smoothing": 0.2}},
    "dpo_mean": {"method": {**METHOD, "name": "dpo_mean", "beta": 2.0}},
    "ipo": {"method": {**METHOD, "name": "ipo"}},
    "ipo_mean": {"method": {**METHOD, "name": "ipo_mean", "beta": 2.0}},
    "simpo": {"method": {**METHOD, "name": "simpo", "beta": 2.0, "gamma": 0.3}},
}
ONLINE: dict[str, Any] = {
    "method": {**METHOD, "name": "online_dpo", "labels": "hard"},
    "preferences": None,
    "rollout": {**PLAIN["rollout"], "prompts": 8, "group_size": 2},
}
BEST: dict[str, Any] = {
    "method": {**METHOD, "name": "best_of_n", "beta": None},
    "preferences": None,
    "rollout": {**PLAIN["rollout"], "group_size": 4},
}
FACTS: dict[str, Any] = {**dict.fromkeys(SAME, "same"), "arm": "p", "seed": 0, "started": "now"}
Steps = dict[int, dict[str, Any]]


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of a draw: all that these tests need."""
    monkeypatch.setattr(preference_pairs, "CHUNK", 32)


def config(*changes: dict[str, Any]) -> PreferencesConfig:
    data = PLAIN
    for some in changes:
        data = changed(data, some)
    found = program_config(data, "test")
    assert isinstance(found, PreferencesConfig)
    return found


def base() -> Decoder:
    tokens = make_tokenizer(make_task(TaskConfig.model_validate(SORTING, strict=False)))
    return new_decoder(tokens, **MODEL, seed=0)


def trained(
    directory: Path,
    asked: PreferencesConfig,
    stop: int | None = None,
    model: Decoder | None = None,
) -> Steps:
    """Metrics by step; killed after `stop` steps."""

    def report(step: int, _: float) -> None:
        if step == stop:
            raise KeyboardInterrupt

    often = 0.0 if stop is not None else 1e9
    with RunWriter(directory, FACTS, checkpoint_seconds=often) as log:
        train_preferences(asked, seed=0, model=model or base(), log=log, report=report)
    return logged(directory)


def logged(directory: Path) -> Steps:
    steps: Steps = {}
    for record in read_lines(directory / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record["values"])
    return steps


class StopHereError(Exception):
    """The gradient is taken, and no more is wanted."""


def gradients_at(
    monkeypatch: pytest.MonkeyPatch, model: Decoder, wanted: int, run: Callable[[], object]
) -> list[Tensor]:
    """Of the engine's update number `wanted`, whose step is not taken."""
    real, found, calls = Engine._gradient_norm, list[Tensor](), [0]

    def before_the_step(engine: Engine) -> float:
        calls[0] += 1
        if calls[0] <= wanted:
            return real(engine)
        found.extend(p.grad.clone() for p in model.parameters() if p.grad is not None)
        raise StopHereError

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_gradient_norm", before_the_step)
        with pytest.raises(StopHereError):
            run()
    model.zero_grad()
    return found


def by_hand(model: Decoder, prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
    """log pi of a whole response by transformers' own forward pass, one token after another."""
    row = torch.tensor([[*prompt, *response]])
    logp_TV = torch.log_softmax(model(input_ids=row).logits[0], dim=-1)
    first = len(prompt)
    each = [logp_TV[first + t - 1, token] for t, token in enumerate(response)]
    return torch.stack(each).sum()


def hand_loss(
    name: str, asked: PreferencesConfig, policy: Decoder, pairs: list[EncodedPair]
) -> Tensor:
    """The mean loss of `pairs`, from one response at a time."""
    chosen = torch.stack([by_hand(policy, p.prompt_ids, p.chosen_ids) for p in pairs])
    rejected = torch.stack([by_hand(policy, p.prompt_ids, p.rejected_ids) for p in pairs])
    if name == "sft":
        return -chosen.sum() / sum(len(p.chosen_ids) for p in pairs)
    with torch.no_grad():
        ref_chosen = torch.stack([by_hand(base(), p.prompt_ids, p.chosen_ids) for p in pairs])
        ref_rejected = torch.stack([by_hand(base(), p.prompt_ids, p.rejected_ids) for p in pairs])
    without = name == "simpo"
    method = asked.method
    assert method.beta is not None
    return preference_loss(
        Pairs(
            chosen_B=chosen,
            rejected_B=rejected,
            ref_chosen_B=None if without else ref_chosen,
            ref_rejected_B=None if without else ref_rejected,
            chosen_length_B=torch.tensor([len(p.chosen_ids) for p in pairs]),
            rejected_length_B=torch.tensor([len(p.rejected_ids) for p in pairs]),
        ),
        name=method.name,
        beta=method.beta,
        label_smoothing=method.label_smoothing,
        gamma=method.gamma,
    ).mean()


@cache
def reward_pairs() -> list[EncodedPair]:
    """Those that a reward model of the same settings and seed learns from."""
    alone = program_config(changed(RUN_SAMPLED, {"data": SAMPLED}), "test")
    return read_pairs(alone, base(), 0)[1].train  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "step"), [("dpo", 0), *((name, 1) for name in OFFLINE)])
def test_gradients_are_those_of_the_loss_on_the_reward_models_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: int
) -> None:
    """At the reference, and after an update, away from it; with several micro-batches."""
    asked = config(OFFLINE[name], {"engine.micro_batch_tokens": 24})
    model = base()
    found = gradients_at(
        monkeypatch, model, step, lambda: trained(tmp_path / "run", asked, model=model)
    )
    places = batch_places(12, 4, 0, 0, step)
    pairs = [reward_pairs()[place] for place in places]
    wanted = torch.autograd.grad(hand_loss(name, asked, model, pairs), list(model.parameters()))
    assert max(float(one.abs().max()) for one in wanted) > 1e-2
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_sft_is_a_supervised_update_on_the_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(OFFLINE["sft"])
    model = base()
    found = gradients_at(monkeypatch, model, 0, lambda: trained(tmp_path, asked, model=model))
    tokens = make_tokenizer(make_task(asked.task))
    pairs = [reward_pairs()[place] for place in batch_places(12, 4, 0, 0, 0)]
    engine = an_engine(model, asked)
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
    wanted = gradients_at(
        monkeypatch, model, 0, lambda: supervised_update(engine, rows, 1000, tokens.pad_id)
    )
    engine.close()
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def an_engine(model: Decoder, asked: PreferencesConfig) -> Engine:
    return make_engine(model, asked.optim, asked.engine, asked.steps)


@pytest.mark.parametrize("changes", [{}, {"preferences.pairs": 5}])
def test_a_reward_model_learns_from_the_same_pairs(changes: dict[str, Any]) -> None:
    data: dict[str, Any] = {"data": SAMPLED, "pairs": changes.get("preferences.pairs", 12)}
    learned = {**LEARNED, **data}
    asked = config(
        {"reward": {"name": "learned", "scale": 1.0, "kl": 0.0, "learned": learned}}, changes
    )
    assert asked.reward.learned is not None
    task = make_task(asked.task)
    for seed in (0, 1):
        mine = written_pairs(asked, task, make_tokenizer(task), base(), seed=seed)
        _, theirs = read_pairs(as_program(asked, asked.reward.learned), base(), seed)
        assert mine is not None
        assert (mine.train, mine.heldout) == (theirs.train, theirs.heldout)
        assert len(mine.train) == data["pairs"]


def test_the_reference_reads_every_response_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int | str] = []
    logps, update = Frozen.logps, Engine.update

    def watched(frozen: Frozen, engine: Engine, batch: Any, micro_tokens: int) -> Tensor:
        told.append(len(batch.length_B))
        return logps(frozen, engine, batch, micro_tokens)

    def updated(engine: Engine, losses: Any) -> Update:
        told.append("update")
        return update(engine, losses)

    monkeypatch.setattr(Frozen, "logps", watched)
    monkeypatch.setattr(Engine, "update", updated)
    steps = trained(tmp_path, config({"eval.base_kl": False, "steps": 9}))
    heldout = int(steps[0]["reward_model/heldout_pairs"])
    assert told == [24, 2 * heldout, *["update"] * 9]


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("dpo", log(2)),
        ("smoothed", log(2)),
        ("dpo_mean", log(2)),
        ("ipo", 1.0),
        ("ipo_mean", 1 / 16),
    ],
)
def test_the_first_loss_is_that_of_no_difference(tmp_path: Path, name: str, loss: float) -> None:
    first = trained(tmp_path, config(OFFLINE[name], {"steps": 1}))[0]
    assert first["train/loss"] == pytest.approx(loss, abs=1e-5)
    assert first["heldout_pairs/loss"] == pytest.approx(loss, abs=1e-5)
    for name in ("chosen_reward", "rejected_reward", "margin"):
        assert first[f"pairs/{name}"] == pytest.approx(0, abs=1e-5)
    assert first["pairs/chosen_logp"] < 0 > first["pairs/rejected_logp"]


def test_what_is_logged_is_what_the_policy_says(tmp_path: Path) -> None:
    """Of the held-out pairs, by hand, after training."""
    asked = config({"method.beta": 0.25})
    model = base()
    last = trained(tmp_path, asked, model=model)[3]
    task = make_task(asked.task)
    pairs = written_pairs(asked, task, make_tokenizer(task), base(), seed=0)
    assert pairs is not None
    assert pairs.gap_B is not None
    with torch.no_grad():
        rewards = [
            [
                float(0.25 * (by_hand(model, *row) - by_hand(base(), *row)))
                for row in ((p.prompt_ids, p.chosen_ids), (p.prompt_ids, p.rejected_ids))
            ]
            for p in pairs.heldout
        ]
        logps = [float(by_hand(model, p.prompt_ids, p.rejected_ids)) for p in pairs.heldout]
    chosen, rejected = torch.tensor(rewards, dtype=torch.float64).T
    right = (chosen > rejected).double()
    wanted = {
        "chosen_reward": chosen.mean(),
        "rejected_reward": rejected.mean(),
        "margin": (chosen - rejected).mean(),
        "accuracy": right.mean(),
        "gold_accuracy": right[pairs.gap_B > 0].mean(),
        "rejected_logp": torch.tensor(logps).mean(),
        "loss": -torch.nn.functional.logsigmoid(chosen - rejected).mean(),
    }
    assert abs(float(wanted["margin"])) > 1e-3
    for name, value in wanted.items():
        assert last[f"heldout_pairs/{name}"] == pytest.approx(float(value), abs=1e-4)


def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is judged is easy: is there a 0 in the response?"""
    rewards = {"position": Reward(lambda _, r: float("0" in r.text), 1.0, exact)}
    for module in (preference_pairs, evaluation, scoring):
        monkeypatch.setattr(module, "REWARDS", rewards)


@pytest.mark.parametrize("name", ["sft", "smoothed", "ipo", "simpo"])
def test_learns_what_can_be_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    easy(monkeypatch)
    long = {"preferences.pairs": 128, "preferences.batch_pairs": 32, "steps": 24, "eval.every": 24}
    steps = trained(tmp_path, config(OFFLINE[name], long, {"eval.samples": 60}))
    assert steps[24]["eval/gold"] > steps[0]["eval/gold"] + (0.05 if name == "sft" else 0.2)
    assert steps[24]["heldout_pairs/gold_accuracy"] > (0.7 if name == "sft" else 0.9)
    assert steps[24]["eval/base_kl"] > 0.05
    assert steps[0]["eval/base_kl"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("labels", ["hard", "bradley_terry"])
def test_learns_from_its_own_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str
) -> None:
    easy(monkeypatch)
    scale = 1.0 if labels == "hard" else 4.0
    long = {"method.labels": labels, "reward.scale": scale, "steps": 24, "rollout.prompts": 32}
    steps = trained(tmp_path, config(ONLINE, long, {"eval.samples": 60}))
    assert steps[0]["train/loss"] == pytest.approx(log(2), abs=1e-5)
    assert steps[24]["eval/gold"] > steps[0]["eval/gold"] + 0.3
    gaps = [(x["train/logp_gap_mean"], x["train/logp_gap_max"]) for x in list(steps.values())[:-1]]
    assert all(0 < mean < most < 1e-5 for mean, most in gaps)


def test_own_pairs_are_labelled_by_the_reward() -> None:
    asked = config(ONLINE, {"rollout.prompts": 40})
    model, task = base(), make_task(asked.task)
    tokens = make_tokenizer(task)
    rollouts = training_rollouts(asked, task, tokens, local_sampler(model, tokens), seed=0, step=0)
    engine = an_engine(model, asked)
    micro_tokens = micro_batch_tokens(asked.engine, model)
    reader = Reader(Frozen(model, asked), engine, tokens.pad_id, micro_tokens)
    reward_M2 = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    pairs = reader.own(asked, rollouts, reward_M2, seed=0, step=0)
    soft = replace_labels(asked, "bradley_terry")
    noisy = reader.own(soft, rollouts, 1e-9 * reward_M2, seed=0, step=0)
    engine.close()
    width = pairs.batch.token_BT.shape[1]

    def row(place: int) -> list[int]:
        ids = (*rollouts[place].prompt_ids, *rollouts[place].completion.token_ids)
        return [*ids, *[tokens.pad_id] * (width - len(ids))]

    best = reward_M2.argmax(dim=1).tolist()
    rows = pairs.batch.token_BT.tolist()
    assert rows[:40] == [row(2 * m + first) for m, first in enumerate(best)]
    assert rows[40:] == [row(2 * m + 1 - first) for m, first in enumerate(best)]
    logps = [(len(r.prompt_ids), r.completion.logps) for r in rollouts]
    for place, logp_T in enumerate(pairs.batch.logp_sampler_BT[:40]):
        prompt, said = logps[2 * place + best[place]]
        expected = torch.tensor([*[0.0] * prompt, *said, *[0.0] * (width - prompt - len(said))])
        assert torch.equal(logp_T, expected)
    # By chances that are all 1/2, about half of the labels are others.
    agree = sum(a == b for a, b in zip(rows[:40], noisy.batch.token_BT.tolist()[:40], strict=True))
    assert 10 <= agree <= 30


def replace_labels(asked: PreferencesConfig, labels: str) -> PreferencesConfig:
    return asked.model_copy(update={"method": asked.method.model_copy(update={"labels": labels})})


def test_best_of_n_is_the_best_of_n(tmp_path: Path) -> None:
    """By the run's reward, of the evaluation's own draws; judged by gold."""
    learned = {"name": "learned", "scale": 1.0, "kl": 0.0, "learned": LEARNED}
    asked = config(BEST, {"reward": learned, "eval.samples": 5})
    steps = trained(tmp_path, asked)
    model, task = base(), make_task(asked.task)
    tokens = make_tokenizer(task)
    scorer = make_scorer(asked, task, model=model, seed=0)
    problems = task.heldout_problems(asked.eval.problems_per_difficulty, asked.eval.seed)
    rollouts = roll_out(
        [(p, k, derive("eval", 0, 3, p.id, k)) for p in problems for k in range(20)],
        tokenizer=tokens,
        sampler=local_sampler(model, tokens),
        temperature=1.0,
        max_new_tokens=5,
        ignore_eos=False,
    )
    score_N4 = torch.tensor(scorer.scores(rollouts), dtype=torch.float64).view(-1, 4)
    assert steps[3]["eval/proxy"] == pytest.approx(float(score_N4.amax(dim=1).mean()))
    assert steps[3]["eval/proxy"] > steps[0]["eval/proxy"]
    gold = evaluation.REWARDS["position"].score
    best = [gold(task, rollouts[4 * i + j]) for i, j in enumerate(score_N4.argmax(dim=1).tolist())]
    assert steps[3]["eval/gold"] == pytest.approx(sum(best) / len(best))
    assert steps[3]["eval/base_kl"] == pytest.approx(log(4) - 3 / 4)
    assert (steps[0]["eval/base_kl"], best_of_n_kl(1)) == (0, 0)
    untrained = trained(tmp_path / "dpo", config({"eval.samples": 5, "steps": 1}))
    assert steps[0]["eval/gold"] == untrained[0]["eval/gold"]


def test_of_equals_the_first_is_the_best() -> None:
    names: list[Any] = list("abcdef")
    assert best_of_each(names, [0.0, 2.0, 2.0, -1.0, -3.0, -1.0], 3) == (["b", "d"], [2.0, -1.0])
    assert best_of_each(names, [1.0] * 6, 1) == (names, [1.0] * 6)


@pytest.mark.parametrize("name", ["sft", "dpo", "online"])
def test_micro_batches_change_no_update(tmp_path: Path, name: str) -> None:
    changes = OFFLINE.get(name, ONLINE)
    whole = trained(tmp_path / "whole", config(changes))
    parts = trained(tmp_path / "parts", config(changes, {"engine.micro_batch_tokens": 1}))
    names = ["train/loss", "train/grad_norm", "pairs/margin", "pairs/chosen_logp"]
    for step in range(3):
        for metric in names:
            assert parts[step][metric] == pytest.approx(whole[step][metric], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["dpo", "online"])
def test_a_killed_run_goes_on_as_it_was(tmp_path: Path, name: str) -> None:
    learned = {"name": "learned", "scale": 1.0, "kl": 0.0, "learned": LEARNED}
    asked = config({"dpo": {}, "online": {**ONLINE, "reward": learned}}[name])
    whole = trained(tmp_path / "whole", asked)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", asked, stop=2)
    assert trained(tmp_path / "killed", asked) == whole
    name = "metrics.jsonl"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_logs_what_is_documented(tmp_path: Path) -> None:
    steps = trained(tmp_path / "a", config())
    own = trained(tmp_path / "b", config(ONLINE))
    names = {name for values in (*steps.values(), *own.values()) for name in values}
    assert {name for name in names if "preferences" not in METRICS[name].programs} == set()
    assert {n for n, m in METRICS.items() if m.program == "preferences"} <= names


def test_names_are_those_of_the_losses() -> None:
    assert set(COMPARING) == set(LOSSES)
    assert set(SMOOTHED) == {*preference.SMOOTHED, "online_dpo"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method.beta": None}, "method.beta"),
        ({"method.gamma": 0.1}, "method.gamma"),
        ({"method": {**OFFLINE["simpo"]["method"], "gamma": None}}, "method.gamma"),
        ({"method.labels": "hard"}, "method.labels"),
        ({"method": {**METHOD, "name": "ipo", "label_smoothing": 0.1}}, "label_smoothing"),
        ({"method.label_smoothing": 0.5}, "label_smoothing"),
        ({"method.name": "orpo"}, "orpo"),
        ({"preferences": None}, "preferences: expected the pairs"),
        ({**ONLINE, "preferences": PLAIN["preferences"]}, "preferences: expected the pairs"),
        ({**ONLINE, "rollout": {**ONLINE["rollout"], "group_size": 4}}, "group_size 2"),
        ({"rollout.group_size": 2}, "prompts 1 and group_size 1"),
        ({**BEST, "rollout": ONLINE["rollout"]}, "prompts 1"),
        ({"preferences.data.gold": "answer"}, "preferences.data.gold"),
        ({"preferences.batch_pairs": 13}, "batch_pairs"),
        ({"reward.kl": 0.1}, "method.beta"),
        ({"reward.scale": 2.0}, "scale"),
        (
            {
                "reward": {
                    "name": "learned",
                    "scale": 1.0,
                    "kl": 0.0,
                    "learned": {**LEARNED, "pairs": 9},
                }
            },
            "the same pairs",
        ),
    ],
)
def test_faults_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(changes)
