"""How strongly an advantage pulls on problems of each success rate, measured in the model.

For a prompt with success rate p, any advantage that is a function of a group's 0/1 rewards has

    E[(1/G) sum_i A_i grad log pi(o_i)] = w(p) grad logit p,        w = rl.exact.expected_weight

because E[grad log pi(o) | right] = grad log p and E[grad log pi(o) | wrong] = grad log(1 - p).
Both sides are measured apart from each other, projected on one direction v of unit length. The
left side is sampled: responses and groups as in training, the advantage code, and the slopes
s_i = d log pi(o_i) / dv by central differences of the model. The right side is exact: one response
alone is right, so that p and grad logit p = grad log p / (1 - p) come from its log-prob by
autograd. Then

    w = mean over groups of (1/G) sum_i A_i s_i  /  <grad logit p, v>

whatever v is; it is an estimate of grad logit p from samples that are not measured.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rl.advantages import advantages
from rl.artifacts import RunWriter
from rl.config import RunConfig
from rl.exact import expected_weight
from rl.logprobs import token_logps
from rl.models import Decoder, FusedDecoder, Tokenizer
from rl.rewards import REWARDS
from rl.rollout import Sampler
from rl.seeding import derive
from rl.tasks import World
from rl.trainers.parts import (
    forward_logits,
    length_buckets,
    make_task,
    make_tokenizer,
    micro_batch_tokens,
)
from rl.trainers.rollouts import collate, make_sampler, roll_out
from rl.types import Batch, Completion, Problem, Rollout, Task

NUDGE = 0.02  # largest wanted change of a sequence's log-prob along v, nats
GRID = tuple(round(0.01 * i, 2) for i in range(1, 100))


def measure_gradient_weight(
    config: RunConfig,
    *,
    seed: int,
    model: Decoder,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Measure at the base model; logs weight/* at step 0 and returns the tokens sampled.

    Problems whose direction samples are all right or all wrong have no direction and are left
    out; those samples are not the ones measured.
    """
    task = make_task(config.generated.task)
    tokenizer = make_tokenizer(task)
    if torch.cuda.is_available():
        model.cuda()  # type: ignore[call-arg]  # transformers wraps it without its type
    sampler = make_sampler(config, model, tokenizer, log)
    group, study = config.rollout.group_size, config.study
    problems = task.heldout_problems(study.problems_per_difficulty, derive("study", seed))
    pull, spread = defaultdict[float, float](float), defaultdict[float, float](float)
    exact, rates = defaultdict[float, float](float), defaultdict[float, list[float]](list)
    tokens = 0
    for index, problem in enumerate(problems):
        count = study.direction_samples + study.samples
        rollouts, reward_B = _sample(config, problem, task, tokenizer, sampler, seed, count)
        tokens += sum(len(r.completion.token_ids) for r in rollouts)
        head = study.direction_samples
        level = float(problem.difficulty)
        if 0 < reward_B[:head].sum() < head:
            aim_B = _centred(reward_B[:head])
            aimed = collate(rollouts[:head], aim_B, tokenizer.pad_id).to(model.device)
            measured = collate(rollouts[head:], reward_B[head:], tokenizer.pad_id).to(model.device)
            direction = _unit(_gradient(model, aimed, config))
            slope_B = _directional_derivative(model, measured, direction, config)
            advantage_PG = _advantages(config, reward_B[head:].view(-1, group))
            p, logit_slope = _exact_logit_slope(model, problem, task, tokenizer, direction, config)
            rates[level].append(p)
            pull[level] += float((advantage_PG.flatten() * slope_B).mean())
            spread[level] += logit_slope
            exact[level] += logit_slope * _exact(config, p)
        report((index + 1) * config.steps // len(problems), float(reward_B.mean()))
    log.log(
        0,
        {
            "weight/p": {level: sum(ps) / len(ps) for level, ps in rates.items()},
            "weight/measured": {level: pull[level] / spread[level] for level in pull},
            "weight/exact": {level: exact[level] / spread[level] for level in pull},
            "weight/curve": {p: _exact(config, p) for p in GRID},
        },
    )
    sampler.close()
    return tokens


def _exact(config: RunConfig, p: float) -> float:
    return float(
        expected_weight(
            p,
            group_size=config.rollout.group_size,
            advantage_fn=lambda rewards_PG: _advantages(config, rewards_PG),
        )
    )


def _advantages(config: RunConfig, rewards_PG: Tensor) -> Tensor:
    return advantages(
        config.reward.scale * rewards_PG,
        baseline=config.advantage.baseline,
        scale=config.advantage.scale,
        ddof=config.advantage.ddof,
        eps=config.advantage.eps,
    )


def _centred(reward_B: Tensor) -> Tensor:
    """Weights that take the mean over right minus the mean over wrong."""
    right = (reward_B > 0).double()
    return right / right.sum() - (1 - right) / (1 - right).sum()


def _sample(
    config: RunConfig,
    problem: Problem,
    task: Task,
    tokenizer: Tokenizer,
    sampler: Sampler,
    seed: int,
    count: int,
) -> tuple[list[Rollout], Tensor]:
    """`count` rollouts of one problem and their 0/1 rewards."""
    rollouts = roll_out(
        [(problem, k, derive("study-rollout", seed, problem.id, k)) for k in range(count)],
        tokenizer=tokenizer,
        sampler=sampler,
        temperature=config.rollout.temperature,
        max_new_tokens=config.rollout.max_new_tokens,
        ignore_eos=config.rollout.ignore_eos,
    )
    reward = REWARDS[config.reward.name]
    values = [reward.score(task, rollout) for rollout in rollouts]
    return rollouts, torch.tensor(values, dtype=torch.float64)


def _exact_logit_slope(
    model: Decoder,
    problem: Problem,
    task: World,
    tokenizer: Tokenizer,
    direction: Sequence[Tensor],
    config: RunConfig,
) -> tuple[float, float]:
    """The success rate p of one problem and d logit p / dv, from its one right response."""
    ids = (*tokenizer.encode(task.solution(problem)), tokenizer.eos_id)
    right = Completion(ids, (0.0,) * len(ids), "stop")
    rollout = Rollout(problem, 0, tokenizer.encode(problem.prompt), right, "")
    batch = collate([rollout], torch.ones(1), tokenizer.pad_id).to(model.device)
    with torch.no_grad():
        p = float(_sequence_logps(model, batch, config).exp())
    gradient = _gradient(model, batch, config)
    slope = sum(float((g * v).sum()) for g, v in zip(gradient, direction, strict=True))
    return p, slope / (1 - p)


def _unit(direction: Sequence[Tensor]) -> list[Tensor]:
    length = torch.stack([v.norm() for v in direction]).norm()
    return [v / length for v in direction]


def _sequence_logps(model: Decoder, part: Batch, config: RunConfig) -> Tensor:
    logits_BTV = forward_logits(FusedDecoder(model), part.token_BT)
    logp_BT = token_logps(logits_BTV, part.token_BT, temperature=config.rollout.temperature)
    return (logp_BT * part.response_BT).sum(dim=1)


def _gradient(model: Decoder, batch: Batch, config: RunConfig) -> list[Tensor]:
    """Gradient of sum_i weight_i log pi(o_i), the weights being the batch's advantages."""
    parameters = list(model.parameters())
    micro_tokens = micro_batch_tokens(config.engine, model)
    total = [torch.zeros_like(p) for p in parameters]
    for pick in length_buckets(batch.length_B, micro_tokens):
        part = batch.rows(pick)
        value = (_sequence_logps(model, part, config) * part.advantage_B).sum()
        for sum_, gradient in zip(total, torch.autograd.grad(value, parameters), strict=True):
            sum_ += gradient
    return total


@torch.no_grad()
def _directional_derivative(
    model: Decoder, batch: Batch, direction: Sequence[Tensor], config: RunConfig
) -> Tensor:
    """d/dt log pi(o_i; theta + t v) at t = 0 for v of unit length, by a central difference."""
    parameters = list(model.parameters())
    micro_tokens = micro_batch_tokens(config.engine, model)

    def logps() -> Tensor:
        value_B = torch.zeros(len(batch.length_B), dtype=torch.float64)
        for pick in length_buckets(batch.length_B, micro_tokens):
            value_B[pick.cpu()] = _sequence_logps(model, batch.rows(pick), config).double().cpu()
        return value_B

    def moved(distance: float) -> Tensor:
        kept = [p.clone() for p in parameters]
        for p, v in zip(parameters, direction, strict=True):
            p.add_(v, alpha=distance)
        value_B = logps()
        for p, old in zip(parameters, kept, strict=True):
            p.copy_(old)
        return value_B

    here_B = logps()
    step = 1e-3
    step *= NUDGE / max(float((moved(step) - here_B).abs().max()), 1e-12)
    return (moved(step) - moved(-step)) / (2 * step)
