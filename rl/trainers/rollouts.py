"""Problems into rollouts: encode, sample, decode; and rollouts into batches. Training, evaluation
and studies share it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rl import ranks
from rl.artifacts import RunWriter
from rl.config import DecoderRunConfig
from rl.engine import device
from rl.models import AnyTokenizer, Decoder, PublishedTokenizer
from rl.rollout import (
    LocalSampler,
    Request,
    Sampler,
    SharedSampler,
    VllmSampler,
    VllmSettings,
)
from rl.seeding import derive
from rl.trainers.parts import pad_right
from rl.types import Batch, Problem, Rollout, Task

Ids = tuple[int, ...]
MAX_ROWS = 1024  # rows decoded at once, which bounds the sampler's memory


def make_sampler(
    config: DecoderRunConfig, model: Decoder, tokenizer: AnyTokenizer, log: RunWriter
) -> Sampler:
    """The sampler that the run asks for, with the model's present weights: before an engine has
    it, which may cut them up. Several ranks share its work. To be closed.

    Raises:
        UserError: it asks for vLLM, which is missing or cannot hold this model.
    """
    own = _own_sampler(config, model, tokenizer, log)
    return SharedSampler(own) if ranks.world() > 1 else own


def _own_sampler(
    config: DecoderRunConfig, model: Decoder, tokenizer: AnyTokenizer, log: RunWriter
) -> Sampler:
    settings, cut_up = config.rollout, config.engine.zero_stage == 3
    if settings.sampler == "local":
        return local_sampler(_copy(model) if cut_up else model, tokenizer)

    def tell(died: str) -> None:
        print(f"vLLM died and is started again, with the same weights and requests: {died}")
        log.count("run/sampler_restarts")

    return VllmSampler(
        model,
        eos_id=tokenizer.eos_id,
        settings=VllmSettings(**settings.vllm.model_dump(), tokenizer=_reads(tokenizer)),
        # The ranks have joined a group of processes, which vLLM would take for its own.
        separate=settings.sampler == "vllm_worker" or ranks.world() > 1,
        on_restart=tell,
        ends=tokenizer.ends,
        keep=cut_up,
    )


def _copy(model: Decoder) -> Decoder:
    own: Any = deepcopy(model).requires_grad_(False)
    moved: Decoder = own.to(device())
    return moved


def _reads(tokenizer: AnyTokenizer) -> str | None:
    """The folder of the tokenizer that a sampler has to read responses by."""
    if not isinstance(tokenizer, PublishedTokenizer) or tokenizer.ends.text is None:
        return None
    return str(tokenizer.folder)


def local_sampler(model: Decoder, tokenizer: AnyTokenizer) -> LocalSampler:
    """A sampler on the model's own weights."""
    return LocalSampler(
        model,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        max_rows=MAX_ROWS,
        ends=tokenizer.ends,
    )


def training_rollouts(
    config: DecoderRunConfig,
    task: Task,
    tokenizer: AnyTokenizer,
    sampler: Sampler,
    *,
    seed: int,
    step: int,
    prefix: str = "",
) -> list[Rollout]:
    """The batch of a step: `rollout.group_size` responses to each of `rollout.prompts` problems,
    group by group. Problems and draws are named by seed, step and `prefix` alone, so that all
    programs and arms get the same."""
    problems_P = task.train_problems(
        config.rollout.prompts, derive(f"{prefix}problems", seed, step)
    )
    return roll_out(
        [
            (problem, g, derive(f"{prefix}rollout", seed, step, problem.id, g))
            for problem in problems_P
            for g in range(config.rollout.group_size)
        ],
        tokenizer=tokenizer,
        sampler=sampler,
        temperature=config.rollout.temperature,
        max_new_tokens=config.rollout.max_new_tokens,
        ignore_eos=config.rollout.ignore_eos,
    )


def roll_out(
    wanted: Sequence[tuple[Problem, int, int]],
    *,
    tokenizer: AnyTokenizer,
    sampler: Sampler,
    temperature: float,
    max_new_tokens: int,
    ignore_eos: bool,
) -> list[Rollout]:
    """One response to each (problem, number of the sample, seed), in their order.

    Its text goes up to the first EOS, which is its end unless `ignore_eos`.
    """
    prompts = [tokenizer.encode(problem.prompt) for problem, _, _ in wanted]
    completions = sampler.generate(
        [Request(prompt, seed) for prompt, (_, _, seed) in zip(prompts, wanted, strict=True)],
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        ignore_eos=ignore_eos,
    )
    texts = [tokenizer.decode(_to_eos(c.token_ids, tokenizer.eos_id)) for c in completions]
    return [
        Rollout(problem, sample, prompt, completion, text)
        for (problem, sample, _), prompt, completion, text in zip(
            wanted, prompts, completions, texts, strict=True
        )
    ]


def _to_eos(ids: tuple[int, ...], eos_id: int) -> tuple[int, ...]:
    return ids[: ids.index(eos_id)] if eos_id in ids else ids


def collate(rollouts_B: Sequence[Rollout], advantage_B: Tensor, pad_id: int) -> Batch:
    """Rollouts as a batch."""
    batch = collate_ids([(r.prompt_ids, r.completion.token_ids) for r in rollouts_B], pad_id)
    return replace(
        batch, logp_sampler_BT=sampler_logps(rollouts_B), advantage_B=advantage_B.float()
    )


def sampler_logps(rollouts_B: Sequence[Rollout]) -> Tensor:
    """As the sampler reported them (B, T), 0 off the response."""
    rows = [(*[0.0] * len(r.prompt_ids), *r.completion.logps) for r in rollouts_B]
    return pad_right(rows, fill=0.0, dtype=torch.float32)


def collate_ids(rows_B: Sequence[tuple[Ids, Ids]], pad_id: int) -> Batch:
    """Right-padded sequences of prompt and response; masks from lengths. Without the sampler's
    log-probs and advantages, which are 0."""
    rows = [(*prompt, *response) for prompt, response in rows_B]
    token_BT = pad_right(rows, fill=pad_id, dtype=torch.int64)
    length_B = torch.tensor([len(row) for row in rows])
    prompt_B = torch.tensor([len(prompt) for prompt, _ in rows_B])
    place_T = torch.arange(token_BT.shape[1])
    return Batch(
        token_BT=token_BT,
        length_B=length_B,
        response_BT=(place_T >= prompt_B[:, None]) & (place_T < length_B[:, None]),
        logp_sampler_BT=torch.zeros(token_BT.shape),
        advantage_B=torch.zeros(len(rows)),
    )
