"""Held-out evaluation on prompts of its own, the same for every arm, seed and step."""

from collections import defaultdict
from collections.abc import Sequence

from rl.artifacts import RunWriter
from rl.config import RunConfig
from rl.models import Tokenizer
from rl.rewards import REWARDS
from rl.rollout import Sampler
from rl.seeding import derive
from rl.trainers.rollouts import roll_out
from rl.types import Completion, Problem, Rollout, Task


def evaluate(
    config: RunConfig,
    problems: Sequence[Problem],
    task: Task,
    tokenizer: Tokenizer,
    sampler: Sampler,
    log: RunWriter,
    seed: int,
    step: int,
) -> int:
    """Sample, score and log; returns the number of tokens sampled.

    The sampling seeds are the same in every arm (common random numbers), so that arms differ by
    their weights alone. Accuracy is the mean over difficulties of the mean over problems.
    """
    rollouts = roll_out(
        [
            (problem, k, derive("eval", seed, step, problem.id, k))
            for problem in problems
            for k in range(config.eval.samples)
        ],
        tokenizer=tokenizer,
        sampler=sampler,
        temperature=config.eval.temperature,
        max_new_tokens=config.rollout.max_new_tokens,
        ignore_eos=config.rollout.ignore_eos,
    )
    completions = [rollout.completion for rollout in rollouts]
    reward = REWARDS[config.reward.name]
    scores = [reward(task, rollout) for rollout in rollouts]
    by_difficulty = mean_by_difficulty([r.problem.difficulty for r in rollouts], scores)
    log.log(
        step,
        {
            "eval/accuracy": sum(by_difficulty.values()) / len(by_difficulty),
            "eval/accuracy_by_difficulty": by_difficulty,
            "eval/response_tokens": sum(len(c.token_ids) for c in completions) / len(completions),
            **lengths_by_outcome(completions, scores),
            "eval/truncated": sum(c.finish_reason == "length" for c in completions)
            / len(completions),
        },
    )
    if step in (0, config.steps):
        _log_samples(log, rollouts, scores, step)
    return sum(len(c.token_ids) for c in completions)


def lengths_by_outcome(
    completions: Sequence[Completion], scores: Sequence[float]
) -> dict[str, float]:
    """Mean tokens of the right responses (score over 0) and of the wrong, where there are any."""
    means = {}
    for name, right in (("correct", True), ("incorrect", False)):
        tokens = [
            len(c.token_ids)
            for c, score in zip(completions, scores, strict=True)
            if (score > 0) == right
        ]
        if tokens:
            means[f"eval/response_tokens_{name}"] = sum(tokens) / len(tokens)
    return means


def mean_by_difficulty(difficulties: Sequence[int], values: Sequence[float]) -> dict[float, float]:
    """Mean of the values of each difficulty, in ascending order of difficulty."""
    groups: dict[int, list[float]] = defaultdict(list)
    for difficulty, value in zip(difficulties, values, strict=True):
        groups[difficulty].append(value)
    return {float(d): sum(groups[d]) / len(groups[d]) for d in sorted(groups)}


def _log_samples(
    log: RunWriter,
    rollouts: Sequence[Rollout],
    scores: Sequence[float],
    step: int,
) -> None:
    """The first sample of the first problem of each difficulty: chosen by place, not by merit."""
    seen: set[int] = set()
    for rollout, score in zip(rollouts, scores, strict=True):
        if rollout.problem.difficulty in seen:
            continue
        seen.add(rollout.problem.difficulty)
        log.sample(
            {
                "step": step,
                "problem_id": rollout.problem.id,
                "difficulty": rollout.problem.difficulty,
                "prompt": rollout.problem.prompt,
                "answer": rollout.problem.answer,
                "text": rollout.text,
                "reward": score,
                "finish_reason": rollout.completion.finish_reason,
                "tokens": len(rollout.completion.token_ids),
            }
        )
