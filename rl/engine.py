"""The only place that steps an optimiser: a thin door to DeepSpeed.

One process on CPU at ZeRO stage 0 by default; stage, precision and clipping by argument. A caller
hands over the micro-batch losses of one update; their sum is the loss of the whole batch, over all
ranks, because losses are aggregated with global denominators (rl.losses.aggregate).
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
os.environ.setdefault("LOCAL_RANK", "0")


@contextmanager
def _quiet() -> Iterator[None]:
    """Third-party deprecations are not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


with _quiet():
    import deepspeed
    import deepspeed.ops

logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
# The shared-memory all-reduce would be compiled at the first start, for over a minute; gloo serves.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

TAG = "last"  # the folder of a checkpoint
# Factor of the learning rate by the share of the updates after warm-up that are done.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


@dataclass(frozen=True)
class Update:
    """What one optimiser update did. `grad_norm` is global, L2, before clipping."""

    loss: float
    grad_norm: float
    lr: float


class Engine:
    """A model with its optimiser and schedule under DeepSpeed."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        warmup_steps: int,
        schedule: str,
        total_updates: int,
        grad_clip: float,
        zero_stage: int,
        precision: str,
        compiled: bool = False,
    ) -> None:
        """Wrap `model`.

        The learning rate of update k (from 0) is lr * min(1, (k+1)/warmup_steps) * schedule, where
        the schedule falls over the updates after the warm-up. `grad_clip` 0 means no clipping.
        `compiled` sends calls of `model` through torch.compile, once for all shapes.
        """
        _join_process_group()
        decay = SCHEDULES[schedule]
        after = max(1, total_updates - warmup_steps)

        def factor(update: int) -> float:
            warm = min(1.0, (update + 1) / warmup_steps) if warmup_steps else 1.0
            return warm * decay(min(1.0, max(0, update - warmup_steps) / after))

        settings: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,  # callers cut their own micro-batches
            "managed_gradient_accumulation": False,
            "zero_optimization": {"stage": zero_stage},
            "gradient_clipping": grad_clip,
            "steps_per_print": 10**9,
            "optimizer": {
                "type": "AdamW",
                "params": {
                    "lr": lr,
                    "betas": list(betas),
                    "eps": eps,
                    "weight_decay": weight_decay,
                    "torch_adam": True,
                },
            },
        }
        if precision == "bf16":
            settings["bf16"] = {"enabled": True}
        if compiled:
            model = cast(nn.Module, torch.compile(model, dynamic=True))
        with _quiet():
            self._engine, self._optimizer, _, _ = deepspeed.initialize(
                model=model,
                config=settings,
                lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
            )
        self._exact_norm = zero_stage == 0 and precision == "fp32"
        self._world = dist.get_world_size()

    @property
    def model(self) -> nn.Module:
        """The wrapped model: call it, do not step it.

        Calls go through DeepSpeed: at stage 3 it counts micro-batches by them, and without the
        count each would overwrite the gradient of the one before.
        """
        module: nn.Module = self._engine
        return module

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        device: torch.device = self._engine.device
        return device

    def update(self, losses: Iterable[Callable[[], Tensor]]) -> Update:
        """One optimiser update on the sum of the micro-batch losses.

        Each loss is a function, so that its graph lives only while its gradient is taken.

        Raises:
            FloatingPointError: the gradient is not finite; the parameters are unchanged.
        """
        self._engine.train()
        total = 0.0
        for compute in losses:
            loss = compute()
            total += float(loss.detach())
            # DeepSpeed averages over ranks; the losses are parts of a sum.
            with _quiet():
                self._engine.backward(loss * self._world, scale_wrt_gas=False)
        lr = float(self._optimizer.param_groups[0]["lr"])
        norm = self._gradient_norm() if self._exact_norm else None
        if norm is None or math.isfinite(norm):
            with _quiet():  # elsewhere it leaves out a step that is not finite by itself
                self._engine.step()
        if norm is None:
            norm = float(self._engine.get_global_grad_norm())
        if not math.isfinite(norm):
            raise FloatingPointError(f"gradient norm is {norm}; lower optim.lr or clip gradients")
        return Update(loss=total, grad_norm=norm, lr=lr)

    def _gradient_norm(self) -> float:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return float(nn.utils.get_total_norm(gradients))

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint of model, optimiser and schedule, with the caller's own `state`."""
        self._engine.save_checkpoint(str(directory), tag=TAG, client_state={"caller": state})

    def load(self, directory: Path) -> dict[str, Any]:
        """Restore a checkpoint and return the `state` that was saved with it.

        Raises:
            FileNotFoundError: there is no checkpoint in `directory`.
        """
        if not (directory / TAG).is_dir():
            raise FileNotFoundError(f"{directory}: no checkpoint")
        _, state = self._engine.load_checkpoint(str(directory), tag=TAG)
        return dict(state["caller"])

    def close(self) -> None:
        """Let go of the model, so that one process can run many engines in turn."""
        self._engine.destroy()


def _join_process_group() -> None:
    """Under a launcher, its ranks; else one process alone, which needs no meeting point.

    Gloo listens on a free port of the host's own address all the same; nothing connects to it.
    """
    if dist.is_initialized():
        return
    if "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ:
        deepspeed.init_distributed()
        return
    backend = "nccl" if os.environ["DS_ACCELERATOR"] == "cuda" else "gloo"
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
