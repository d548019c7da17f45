"""Held-out evaluation on prompts of its own, the same for every arm, seed and step."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from rl import ranks
from rl.artifacts import RunWriter
from rl.config import DecoderRunConfig
from rl.models import AnyTokenizer
from rl.rewards import REWARDS
from rl.rollout import Sampler
from rl.seeding import derive
from rl.tasks import has_duplicates
from rl.trainers.parts import make_task
from rl.trainers.published import verdict_shares
from rl.trainers.rollouts import roll_out
from rl.trainers.scoring import Scorer
from rl.types import Completion, Problem, Rollout

# How a program can end, in kinds; all else is a fault.
_KIND_OF_END = {
    **{end: end for end in ("passed", "wrong", "truncated")},
    **dict.fromkeys(("steps", "memory", "size", "output", "cpu", "time", "processes"), "bound"),
}
INPUT = "x"  # the instruction of tiny programs that reads it
MOST_HACKED = 2  # samples of hacked responses kept, of each difficulty


def evaluate(
    config: DecoderRunConfig,
    problems: Sequence[Problem],
    scorer: Scorer,
    tokenizer: AnyTokenizer,
    sampler: Sampler,
    log: RunWriter,
    seed: int,
    step: int,
    *,
    from_base: Callable[[Sequence[Rollout]], Tensor] | None = None,
    best_of: int = 1,
) -> int:
    """Sample, score and log; returns the number of tokens sampled.

    The sampling seeds are the same in every arm (common random numbers), so that arms differ by
    their weights alone. Accuracy is the mean over difficulties of the mean over problems, and so
    are the reward that is trained for (proxy) and the share of hacked responses: wrong, with as
    much of it as there can be. `from_base` gives log pi / pi_base of whole responses, where
    `eval.base_kl` asks for it. Of every `best_of` responses the one with the highest reward is
    looked at alone.
    """
    sampled = roll_out(
        [
            (problem, k, derive("eval", seed, step, problem.id, k))
            for problem in problems
            for k in range(config.eval.samples * best_of)
        ],
        tokenizer=tokenizer,
        sampler=sampler,
        temperature=config.eval.temperature,
        max_new_tokens=config.rollout.max_new_tokens,
        ignore_eos=config.rollout.ignore_eos,
    )
    rollouts, proxy_B = best_of_each(sampled, scorer.scores(sampled), best_of)
    completions = [rollout.completion for rollout in rollouts]
    right_B = ranks.shared(rollouts, scorer.right)
    hacked_B = [
        float(proxy >= scorer.best and not right)
        for proxy, right in zip(proxy_B, right_B, strict=True)
    ]
    difficulty_B = [rollout.problem.difficulty for rollout in rollouts]
    by_difficulty = mean_by_difficulty(difficulty_B, right_B)
    log.log(
        step,
        {
            "eval/accuracy": _mean(by_difficulty),
            "eval/accuracy_by_difficulty": by_difficulty,
            "eval/proxy": _mean(mean_by_difficulty(difficulty_B, proxy_B)),
            "eval/hacked": _mean(mean_by_difficulty(difficulty_B, hacked_B)),
            "eval/response_tokens": sum(len(c.token_ids) for c in completions) / len(completions),
            **lengths_by_outcome(completions, right_B),
            "eval/truncated": sum(c.finish_reason == "length" for c in completions)
            / len(completions),
        },
    )
    if config.eval.gold is not None:
        gold, task = REWARDS[config.eval.gold], make_task(config.generated.task)
        gold_B = [gold.score(task, rollout) for rollout in rollouts]
        log.log(step, {"eval/gold": _mean(mean_by_difficulty(difficulty_B, gold_B))})
    if config.eval.base_kl and from_base is not None:
        log.log(step, {"eval/base_kl": float(from_base(rollouts).double().mean())})
    if config.task.name == "sorting":
        repeated_B = [int(has_duplicates(rollout.problem)) for rollout in rollouts]
        values = {"accuracy": right_B, "proxy": proxy_B, "hacked": hacked_B}
        log.log(
            step,
            {
                f"eval/{name}_by_duplicates": mean_by_difficulty(repeated_B, value_B)
                for name, value_B in values.items()
            },
        )
    end_B = ranks.shared(rollouts, scorer.end) if scorer.end else []
    if end_B:
        log.log(step, program_ends(end_B, [rollout.text for rollout in rollouts]))
    if scorer.verdict:
        log.log(step, verdict_shares("eval", ranks.shared(rollouts, scorer.verdict)))
    if step in (0, config.steps):
        _log_samples(log, rollouts, proxy_B, hacked_B, end_B, step)
    return sum(len(rollout.completion.token_ids) for rollout in sampled)


def best_of_each(
    rollouts: Sequence[Rollout], scores: Sequence[float], n: int
) -> tuple[list[Rollout], list[float]]:
    """Of every `n` in a row the one with the highest score, of equals the first; and its score."""
    firsts = range(0, len(rollouts), n)
    best = [max(range(first, first + n), key=scores.__getitem__) for first in firsts]
    return [rollouts[i] for i in best], [scores[i] for i in best]


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


def program_ends(end_B: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """Shares of programs by how they end, and of those that ignore their input."""
    counts = Counter(_KIND_OF_END.get(end, "fault") for end in end_B)
    gave_up = [
        end != "truncated" and INPUT not in text for end, text in zip(end_B, texts, strict=True)
    ]
    return {
        **{f"eval/ended_{kind}": counts[kind] / len(end_B) for kind in ("wrong", "bound", "fault")},
        "eval/ignores_input": sum(gave_up) / len(gave_up),
    }


def mean_by_difficulty(difficulties: Sequence[int], values: Sequence[float]) -> dict[float, float]:
    """Mean of the values of each difficulty (or other level), in ascending order of difficulty."""
    groups: dict[int, list[float]] = defaultdict(list)
    for difficulty, value in zip(difficulties, values, strict=True):
        groups[difficulty].append(value)
    return {float(d): sum(groups[d]) / len(groups[d]) for d in sorted(groups)}


def _mean(by_level: Mapping[float, float]) -> float:
    """Of the levels, each counted once."""
    return sum(by_level.values()) / len(by_level)


def _log_samples(
    log: RunWriter,
    rollouts: Sequence[Rollout],
    proxy_B: Sequence[float],
    hacked_B: Sequence[float],
    end_B: Sequence[str],
    step: int,
) -> None:
    """The first sample of the first problem of each difficulty: chosen by place, not by merit.

    After these the first that were hacked, which say so.
    """
    seen, kept = set[int](), Counter[int]()
    hacks = []
    for i, (rollout, proxy, hacked) in enumerate(zip(rollouts, proxy_B, hacked_B, strict=True)):
        difficulty = rollout.problem.difficulty
        record = {
            "step": step,
            "problem_id": rollout.problem.id,
            "difficulty": difficulty,
            "prompt": rollout.problem.prompt,
            "answer": rollout.problem.answer,
            "text": rollout.text,
            "reward": proxy,
            "finish_reason": rollout.completion.finish_reason,
            "tokens": len(rollout.completion.token_ids),
        }
        if end_B:
            record["program_end"] = end_B[i]
        if difficulty not in seen:
            seen.add(difficulty)
            log.sample(record)
        if hacked and kept[difficulty] < MOST_HACKED:
            kept[difficulty] += 1
            hacks.append({**record, "hacked": True})
    for record in hacks:
        log.sample(record)
