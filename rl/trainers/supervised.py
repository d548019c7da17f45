"""Supervised training: next-token cross-entropy on worked text. Makes the base models."""

from collections.abc import Callable
from functools import partial
from random import Random

import torch
from torch import Tensor

from rl.config import BaseConfig, EngineConfig
from rl.engine import Engine
from rl.files import Checkpoints
from rl.logprobs import token_logps
from rl.losses import aggregate
from rl.models import Decoder, Tokenizer, new_decoder
from rl.seeding import derive
from rl.tasks import World
from rl.trainers.parts import (
    forward_logits,
    length_buckets,
    make_engine,
    micro_batch_tokens,
    pad_right,
)


def train_base(
    config: BaseConfig,
    *,
    task: World,
    tokenizer: Tokenizer,
    engine_config: EngineConfig,
    checkpoints: Checkpoints,
    report: Callable[[int, float], None],
) -> Decoder:
    """A base model from random weights and generated text; `report` gets (steps done, loss).

    Goes on from the last checkpoint where there is one. One process does it, which ZeRO has nothing
    to give.
    """
    model = new_decoder(
        tokenizer, **config.model.model_dump(), seed=derive("base-weights", config.seed)
    )
    engine_config = engine_config.model_copy(update={"zero_stage": 0})
    engine = make_engine(model, config.optim, engine_config, config.steps)
    micro_tokens = micro_batch_tokens(engine_config, model)
    last = checkpoints.last()
    first = engine.load(last)["step"] if last else 0
    for step in range(first, config.steps):
        texts = demonstrations(config, task, step)
        tokens = [
            (tokenizer.encode(prompt), (*tokenizer.encode(text), tokenizer.eos_id))
            for prompt, text in texts
        ]
        loss = supervised_update(engine, tokens, micro_tokens, tokenizer.pad_id)
        if checkpoints.due():
            checkpoints.keep(step + 1, partial(engine.save, state={"step": step + 1}))
        report(step + 1, loss)
    engine.close()
    return model


def demonstrations(config: BaseConfig, task: World, step: int) -> list[tuple[str, str]]:
    """One step's (prompt, worked response) pairs; training prompts only."""
    problems = task.train_problems(config.batch_size, derive("base-prompts", config.seed, step))
    rng = Random(derive("base-text", config.seed, step))
    text = config.text
    return [
        (p.prompt, task.demonstration(p, rng, solved=text.solved, filler=text.filler))
        for p in problems
    ]


def supervised_update(
    engine: Engine,
    tokens: list[tuple[tuple[int, ...], tuple[int, ...]]],
    micro_tokens: int,
    pad_id: int,
) -> float:
    """One update on the mean cross-entropy of the response tokens, in nats."""
    rows = [prompt + response for prompt, response in tokens]
    token_BT = pad_right(rows, fill=pad_id, dtype=torch.int64).to(engine.device)
    length_B = torch.tensor([len(row) for row in rows], device=engine.device)
    prompt_B = torch.tensor([len(prompt) for prompt, _ in tokens], device=engine.device)
    place_T = torch.arange(token_BT.shape[1], device=engine.device)
    response_BT = (place_T >= prompt_B[:, None]) & (place_T < length_B[:, None])
    total = int(response_BT.sum())

    def loss_of(pick: Tensor) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            width = int(length_B[pick].max())
            token_bT = token_BT[pick, :width]
            logits_bTV = forward_logits(engine.model, token_bT)
            return aggregate(
                -token_logps(logits_bTV, token_bT, temperature=1.0),
                response_BT[pick, :width],
                mode="token_mean",
                sequences=len(rows),
                tokens=total,
                max_length=None,
            )

        return compute

    return engine.update(map(loss_of, length_buckets(length_B, micro_tokens))).loss
