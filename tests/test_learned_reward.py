"""A reward that is learned first: the same model as on its own, and what policies make of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import SAME, RunWriter, read_lines
from rl.config import DecoderRunConfig, PPOConfig, RunConfig, TaskConfig, program_config
from rl.errors import UserError
from rl.models import Decoder, ScalarDecoder, new_decoder
from rl.rewards import REWARDS
from rl.trainers.critic import make_critic
from rl.trainers.learned_reward import LearnedReward, learn_reward
from rl.trainers.parts import engine_for, make_task, make_tokenizer, micro_batch_tokens
from rl.trainers.policy import train_policy
from rl.trainers.ppo import train_ppo
from rl.trainers.reference import Frozen
from rl.trainers.reward_model import train_reward_model
from rl.trainers.rollouts import local_sampler, training_rollouts
from rl.trainers.scoring import make_scorer
from rl.types import Rollout
from tests.test_reward_model import RUN_SAMPLED, SORTING
from tests.tiny import MODEL, PPO, RUN, changed

FACTS: dict[str, Any] = {**dict.fromkeys(SAME, "same"), "arm": "p", "seed": 0, "started": "now"}
APART = ("program", "task", "base", "eval_every")
LEARNED = {key: value for key, value in RUN_SAMPLED.items() if key not in APART}
CHANGES: dict[str, Any] = {
    "task": SORTING,
    "base": RUN_SAMPLED["base"],
    "steps": 3,
    "rollout.max_new_tokens": 5,
    "reward": {"name": "learned", "scale": 2.0, "kl": 0.05, "learned": LEARNED},
    "eval": {**RUN["eval"], "samples": 60, "every": 2, "gold": "position", "base_kl": True},
}


def config(run: dict[str, Any], changes: dict[str, Any] | None = None) -> DecoderRunConfig:
    found = program_config(changed(changed(run, CHANGES), changes), "test")
    assert isinstance(found, DecoderRunConfig)
    return found


def base() -> Decoder:
    tokens = make_tokenizer(make_task(TaskConfig.model_validate(SORTING, strict=False)))
    return new_decoder(tokens, **MODEL, seed=0)


def learned(asked: DecoderRunConfig, seed: int = 0) -> LearnedReward:
    assert asked.reward.learned is not None
    return learn_reward(asked, asked.reward.learned, model=base(), seed=seed)


def written(asked: DecoderRunConfig, seed: int = 0) -> list[Rollout]:
    task = make_task(asked.task)
    tokens = make_tokenizer(task)
    return training_rollouts(asked, task, tokens, local_sampler(base(), tokens), seed=seed, step=0)


def trained(
    directory: Path, asked: DecoderRunConfig, stop: int | None = None
) -> dict[int, dict[str, Any]]:
    """Metrics by step; killed after `stop` steps."""

    def report(step: int, _: float) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with RunWriter(directory, FACTS, checkpoint_seconds=0) as log:
        common: dict[str, Any] = {"seed": 0, "model": base(), "log": log, "report": report}
        if isinstance(asked, PPOConfig):
            train_ppo(asked, **common)
        elif isinstance(asked, RunConfig):
            train_policy(asked, **common)
    steps: dict[int, dict[str, Any]] = {}
    for record in read_lines(directory / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record["values"])
    return steps


def test_it_is_the_model_that_the_program_makes(tmp_path: Path) -> None:
    """Of the same settings and seed: what it says of held-out pairs is the same to the last bit."""
    alone = program_config({**RUN_SAMPLED, "eval_every": 100}, "test")
    with RunWriter(tmp_path, {"arm": "arm", "seed": 0}) as log:
        train_reward_model(alone, seed=0, log=log, report=lambda *_: None, model=base())  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for record in read_lines(tmp_path / "metrics.jsonl"):
        if record["step"] == alone.steps:
            values |= record["values"]
    found = learned(config(RUN)).metrics
    as_logged = {
        name: {str(level): v for level, v in value.items()} if isinstance(value, dict) else value
        for name, value in found.items()
    }
    assert as_logged == {name: values[name] for name in found}
    assert learned(config(RUN), seed=1).metrics != found


def test_scores_are_the_models_and_rewards_are_scaled() -> None:
    asked = config(RUN)
    model = base()
    scorer = make_scorer(asked, make_task(asked.task), model=model, seed=0)
    rollouts = written(asked)
    (member,) = learned(asked).members
    rows = [(*r.prompt_ids, *r.completion.token_ids) for r in rollouts]
    assert scorer.scores(rollouts) == member.scores(rows).tolist()
    assert len(set(scorer.scores(rollouts))) > 1
    rewards_PG = scorer.rewards(rollouts, scale=2.0, group_size=asked.rollout.group_size)
    assert rewards_PG.flatten().tolist() == [2 * s for s in scorer.scores(rollouts)]
    for name, weight in model.state_dict().items():  # the policy is as it was
        assert torch.equal(weight, base().state_dict()[name])


def test_a_bytes_reader_gets_text() -> None:
    asked = config(RUN, {"reward.learned": {**LEARNED, "scratch": MODEL}})
    found = learned(asked)
    assert found.reader is not None
    assert len(set(found.scores(written(asked)))) > 1


@pytest.mark.parametrize("run", [RUN, PPO], ids=["policy", "ppo"])
def test_a_run_logs_gold_and_distance_and_goes_on_as_it_was(
    tmp_path: Path, run: dict[str, Any]
) -> None:
    asked = config(run)
    whole = trained(tmp_path / "whole", asked)
    assert whole[0]["eval/base_kl"] == pytest.approx(0.0, abs=1e-5)
    assert whole[3]["eval/base_kl"] != pytest.approx(0.0, abs=1e-4)
    assert 0 < whole[0]["eval/gold"] < 1
    assert whole[0]["eval/proxy"] != whole[0]["eval/gold"]
    assert whole[0]["reward_model/accuracy"] == learned(asked).metrics["reward_model/accuracy"]
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", asked, stop=2)
    assert trained(tmp_path / "killed", asked) == whole


def test_gold_is_what_its_rule_says(tmp_path: Path) -> None:
    """Trained for position, gold is the proxy; trained for all or nothing, it is not."""
    same = trained(tmp_path / "a", config(RUN, {"steps": 1, "reward": reward("position")}))
    assert same[0]["eval/gold"] == same[0]["eval/proxy"]
    other = trained(tmp_path / "b", config(RUN, {"steps": 1, "reward": reward("exact")}))
    assert other[0]["eval/gold"] == same[0]["eval/gold"] > other[0]["eval/proxy"]


def reward(name: str) -> dict[str, Any]:
    return {"name": name, "scale": 1.0, "kl": 0.0}


def test_distance_is_summed_over_a_response() -> None:
    """A sampler that is a quarter nat surer of every token than the frozen model."""
    asked = config(RUN)
    model = base()
    frozen = Frozen(model, asked)
    engine = engine_for(model, asked.optim, asked.engine, 1)
    tokens = make_tokenizer(make_task(asked.task))
    ratio_B = frozen.log_ratios(
        [raised(r, by=0.25) for r in written(asked)],
        engine=engine,
        pad_id=tokens.pad_id,
        micro_tokens=micro_batch_tokens(asked.engine, model),
    )
    engine.close()
    wanted = [0.25 * len(r.completion.token_ids) for r in written(asked)]
    assert ratio_B.tolist() == pytest.approx(wanted, abs=1e-4)


def raised(rollout: Rollout, *, by: float) -> Rollout:
    """As if the sampler had been so much surer of every token, nats."""
    surer = replace(rollout.completion, logps=tuple(logp + by for logp in rollout.completion.logps))
    return replace(rollout, completion=surer)


def test_a_critic_may_start_as_the_reward_model() -> None:
    asked = config(PPO, {"critic.start": "reward_model"})
    assert isinstance(asked, PPOConfig)
    reward_model = learned(asked)
    tokens = make_tokenizer(make_task(asked.task))
    critic = make_critic(asked, model=base(), tokenizer=tokens, learned=reward_model, seed=0)
    assert isinstance(critic, ScalarDecoder)
    rollouts = written(asked)
    for rollout, score in zip(rollouts, reward_model.scores(rollouts), strict=True):
        ids = (*rollout.prompt_ids, *rollout.completion.token_ids)
        assert float(critic(torch.tensor([ids]))[0, -1].detach()) == pytest.approx(score, abs=1e-5)
    with torch.no_grad():
        critic.head.bias.add_(1.0)
    assert reward_model.scores(rollouts) == learned(asked).scores(rollouts)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"reward": reward("learned")}, "reward.learned: expected with reward.name learned"),
        (
            {"reward": {**reward("position"), "learned": LEARNED}},
            "reward.learned: expected with reward.name learned, and only with it",
        ),
        ({"reward.learned.data.gold": "answer"}, "reward.learned.data.gold: answer says nothing"),
        ({"eval.gold": "answer"}, "eval.gold: answer says nothing of task sorting"),
        ({"eval.temperature": 0.5}, "eval.base_kl: both policies are those at the temperature"),
        ({"reward.learned.batch_pairs": 13}, "batch_pairs: expected no more than the 12"),
    ],
)
def test_faults_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(RUN, changes)


def test_right_is_what_gold_means() -> None:
    asked = config(RUN)
    task = make_task(asked.task)
    scorer = make_scorer(asked, task, model=base(), seed=0)
    for rollout in written(asked):
        assert scorer.right(rollout) == REWARDS["exact"].score(task, rollout)
