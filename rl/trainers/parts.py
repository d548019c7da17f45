"""From configuration to the objects that a loop needs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rl import ranks
from rl.config import DecoderRunConfig, EngineConfig, OptimConfig, TaskConfig
from rl.engine import Engine
from rl.models import AnyTokenizer, Decoder, FusedDecoder, Tokenizer
from rl.tasks import TASKS, World
from rl.trainers.published import open_task
from rl.types import Task

CACHE_BYTES = 24 * 2**20  # of a core's share of the caches


def make_task(config: TaskConfig) -> World:
    """The world that `config` names."""
    return TASKS[config.name](modulus=config.modulus, digits=config.digits)


def make_tokenizer(task: World) -> Tokenizer:
    """One token a character of the task's alphabet."""
    return Tokenizer(task.alphabet)


def open_world(config: DecoderRunConfig) -> tuple[Task, AnyTokenizer, Callable[[], None]]:
    """A run's task, generated or published, its tokenizer, and what is to be called at its end."""
    if config.published() is not None:
        return open_task(config)
    task = make_task(config.generated.task)
    return task, make_tokenizer(task), lambda: None


def make_engine(
    model: Decoder, optim: OptimConfig, engine: EngineConfig, total_updates: int
) -> Engine:
    """The model under DeepSpeed, for a run of `total_updates` optimiser updates."""
    if engine.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return engine_for(FusedDecoder(model, fuse=fuses(engine)), optim, engine, total_updates)


def fuses(engine: EngineConfig) -> bool:
    """Whether weights may be read past the modules that they belong to: not where the compiler
    follows the modules' calls, ZeRO 3 puts a weight together for its module's call, or a layer's
    call is to be done again in the backward pass."""
    return not engine.compile and not engine.gradient_checkpointing and engine.zero_stage < 3


def engine_for(
    module: nn.Module, optim: OptimConfig, engine: EngineConfig, total_updates: int
) -> Engine:
    """The same for any module."""
    return Engine(
        module,
        compiled=engine.compile,
        lr=optim.lr,
        betas=optim.betas,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        warmup_steps=optim.warmup_steps,
        schedule=optim.schedule,
        total_updates=total_updates,
        grad_clip=optim.grad_clip,
        zero_stage=engine.zero_stage,
        precision=engine.precision,
    )


def pad_right(rows: Sequence[Sequence[float]], *, fill: float, dtype: torch.dtype) -> Tensor:
    """Rows of uneven length as one tensor, filled up on the right."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=dtype)


def micro_batch_tokens(engine: EngineConfig, model: Decoder) -> int:
    """How many tokens, padding included, one forward and backward pass takes.

    By rule: as many as keep what a block of the model leaves for its backward pass within
    CACHE_BYTES; too few make small products, more go through memory.
    """
    sizes = model.config
    return tokens_in_cache(engine, hidden=sizes.hidden_size, intermediate=sizes.intermediate_size)


def tokens_in_cache(engine: EngineConfig, *, hidden: int, intermediate: int) -> int:
    """The same by a model's sizes."""
    if engine.micro_batch_tokens != "auto":
        return engine.micro_batch_tokens
    return max(1, CACHE_BYTES // (4 * (6 * hidden + 3 * intermediate)))


def length_buckets(length_B: Tensor, tokens: int) -> list[Tensor]:
    """Row indices in micro-batches, rows of like length together.

    A micro-batch, padded to its longest row, has at most `tokens`, or is a single row. Less
    padding, same gradient: the loss of a batch is a sum over its rows. Where several ranks share
    them, none has more than its part of all tokens.
    """
    if ranks.world() > 1:
        tokens = min(tokens, int(length_B.sum()) // ranks.world())
    order = torch.argsort(length_B, stable=True)
    cuts, first = [], 0
    for i, length in enumerate(length_B[order].tolist()):
        if i > first and (i + 1 - first) * length > tokens:
            cuts.append(i)
            first = i
    return list(order.tensor_split(cuts))


def forward_logits(model: nn.Module, token_BT: Tensor) -> Tensor:
    """Logits (B, T, V) of right-padded sequences.

    Attention is causal and the padding comes last, so that no real token sees any of it.
    """
    logits: Tensor = model(input_ids=token_BT, use_cache=False).logits
    return logits
