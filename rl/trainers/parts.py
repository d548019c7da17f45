"""From configuration to the objects that a loop needs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rl.config import EngineConfig, OptimConfig, TaskConfig
from rl.engine import Engine
from rl.models import Tokenizer
from rl.tasks import TASKS, ChainSum


def make_task(config: TaskConfig) -> ChainSum:
    """The world that `config` names."""
    return TASKS[config.name](modulus=config.modulus, digits=config.digits)


def make_tokenizer(task: ChainSum) -> Tokenizer:
    """One token a character of the task's alphabet."""
    return Tokenizer(task.alphabet)


def make_engine(
    model: nn.Module, optim: OptimConfig, engine: EngineConfig, total_updates: int
) -> Engine:
    """The model under DeepSpeed, for a run of `total_updates` optimiser updates."""
    return Engine(
        model,
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


def length_buckets(length_B: Tensor, size: int) -> list[Tensor]:
    """Row indices in micro-batches of at most `size`, rows of like length together.

    Less padding, same gradient: the loss of a batch is a sum over its rows.
    """
    return list(torch.argsort(length_B, stable=True).split(size))


def forward_logits(model: nn.Module, token_BT: Tensor) -> Tensor:
    """Logits (B, T, V) of right-padded sequences.

    Attention is causal and the padding comes last, so that no real token sees any of it.
    """
    logits: Tensor = model(input_ids=token_BT, use_cache=False).logits
    return logits
