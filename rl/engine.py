"""The only place that steps an optimiser: a thin door to DeepSpeed.

One process on CPU at ZeRO stage 0 by default; stage, precision and clipping by argument. A caller
hands over the micro-batch losses of one update; their sum is the loss of the whole batch, because
losses are aggregated with global denominators (rl.losses.aggregate). Several ranks share them.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from rl import ranks

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
    from deepspeed.utils import (
        safe_get_full_fp32_param,
        safe_get_full_optimizer_state,
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
# By DeepSpeed, wherever ZeRO 3 puts a weight together.
warnings.filterwarnings("ignore", message=".*all_gather_into_tensor", category=FutureWarning)
# The shared-memory all-reduce would be compiled at the first start, for over a minute; gloo serves.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

TAG = "last"  # the folder of a checkpoint
WHOLE = "whole.pt"  # in it, where ZeRO cuts the optimiser's state up
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW
# At stage 3 a weight of fewer elements is whole at all times.
KEPT_WHOLE = 100_000
# The loss of a micro-batch; or that and what it tells of it, which comes back in Update.told.
Part = Callable[[], Tensor | tuple[Tensor, Any]]
# Factor of the learning rate by the share of the updates after warm-up that are done.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


@dataclass(frozen=True)
class Update:
    """What one optimiser update did. `grad_norm` is global, L2, before clipping; `told` is what the
    micro-batches told, in their order, on every rank."""

    loss: float
    grad_norm: float
    lr: float
    told: tuple[Any, ...] = field(default=(), compare=False)


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
        join()
        if precision == "bf16":  # at stage 0 DeepSpeed's optimiser begins with a step of its own
            zero_stage = max(zero_stage, 1)
        decay = SCHEDULES[schedule]
        after = max(1, total_updates - warmup_steps)

        def factor(update: int) -> float:
            warm = min(1.0, (update + 1) / warmup_steps) if warmup_steps else 1.0
            return warm * decay(min(1.0, max(0, update - warmup_steps) / after))

        settings: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,  # callers cut their own micro-batches
            "managed_gradient_accumulation": False,
            "zero_optimization": {
                "stage": zero_stage,
                "stage3_param_persistence_threshold": KEPT_WHOLE,
            },
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
            self._engine, self._optimizer, _, self._schedule = deepspeed.initialize(
                model=model,
                config=settings,
                lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
            )
        self._stage = zero_stage
        self._exact_norm = zero_stage == 0 and precision == "fp32"
        if self._exact_norm:  # the gradient is summed over ranks before its norm is taken
            self._engine.enable_backward_allreduce = False

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

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        """Within it the weights of `module`, which the engine trains or a part of it, can be read:
        ZeRO 3 cuts them up. All ranks must enter it."""
        if self._stage < 3:
            yield
            return
        with _quiet(), deepspeed.zero.GatheredParameters(list(module.parameters())):
            yield

    def update(self, parts: Iterable[Part]) -> Update:
        """One optimiser update on the sum of the micro-batch losses.

        Each part is a function, so that its graph lives only while its gradient is taken. On
        several ranks all must be given the same parts, and each takes its share of them: what a
        part has to say it must return, and not write down.

        Raises:
            FloatingPointError: the gradient is not finite; the parameters are unchanged.
        """
        self._engine.train()
        mine: list[tuple[float, Any]] = []
        for compute, counts in ranks.turns(parts):
            found = compute()
            loss, told = found if isinstance(found, tuple) else (found, None)
            if counts:
                mine.append((float(loss.detach()), told))
            # DeepSpeed averages over ranks; the losses are parts of a sum.
            with _quiet():
                self._engine.backward(loss * (counts * ranks.world()), scale_wrt_gas=False)
        done = ranks.in_order(mine)
        lr = float(self._optimizer.param_groups[0]["lr"])
        norm = self._gradient_norm() if self._exact_norm else None
        if norm is None or math.isfinite(norm):
            with _quiet():  # elsewhere it leaves out a step that is not finite by itself
                self._engine.step()
        if norm is None:
            norm = float(self._engine.get_global_grad_norm())
        if not math.isfinite(norm):
            raise FloatingPointError(f"gradient norm is {norm}; lower optim.lr or clip gradients")
        return Update(
            loss=sum((loss for loss, _ in done), 0.0),
            grad_norm=norm,
            lr=lr,
            told=tuple(told for _, told in done),
        )

    def _gradient_norm(self) -> float:
        if ranks.world() > 1:
            with _quiet():
                self._engine.buffered_allreduce_fallback()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return float(nn.utils.get_total_norm(gradients))

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint of model, optimiser and schedule, with the caller's own `state`.

        Any number of ranks can go on from it. Rank 0 writes; all must call it.
        """
        if self._stage == 0:
            self._engine.save_checkpoint(str(directory), tag=TAG, client_state={"caller": state})
            return
        weights, moments = {}, {}
        for name, weight in self._trained():  # one at a time, which bounds the memory
            with _quiet():
                whole = [safe_get_full_fp32_param(weight)]
                whole += [safe_get_full_optimizer_state(weight, key) for key in MOMENTS]
            if ranks.rank() == 0:
                weights[name], *moments[name] = (x.cpu() for x in whole)
        if ranks.rank() == 0:
            (directory / TAG).mkdir(parents=True)
            step = next(iter(self._optimizer.optimizer.state.values()))["step"]
            kept = {"weights": weights, "moments": moments, "step": step, "caller": state}
            kept["schedule"] = self._schedule.state_dict()
            torch.save(kept, directory / TAG / WHOLE)

    def load(self, directory: Path) -> dict[str, Any]:
        """Restore a checkpoint and return the `state` that was saved with it.

        Raises:
            FileNotFoundError: there is no checkpoint in `directory`.
        """
        if not (directory / TAG).is_dir():
            raise FileNotFoundError(f"{directory}: no checkpoint")
        if self._stage == 0:
            _, state = self._engine.load_checkpoint(str(directory), tag=TAG)
            return dict(state["caller"])
        path = directory / TAG / WHOLE  # of which a weight is read at a time
        kept = torch.load(path, weights_only=False, map_location="cpu", mmap=True)
        self._make_moments(kept["step"])
        for name, weight in self._trained():
            self._put(weight, kept["weights"][name], None)
            for key, moment in zip(MOMENTS, kept["moments"][name], strict=True):
                self._put(weight, moment, key)
        self._schedule.load_state_dict(kept["schedule"])
        rates = self._schedule.get_last_lr()
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return dict(kept["caller"])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        weights = self._engine.module.named_parameters()
        yield from ((name, weight) for name, weight in weights if weight.requires_grad)

    def _make_moments(self, step: Tensor) -> None:
        """AdamW makes its state at its first step; here it is wanted before."""
        zero = self._optimizer
        cut = self._stage == 3
        parts = zero.fp32_partitioned_groups_flat if cut else zero.single_partition_of_fp32_groups
        for part in parts:
            moments = {key: torch.zeros_like(part) for key in MOMENTS}
            zero.optimizer.state[part] = {"step": step.cpu().clone(), **moments}
        if not cut:
            zero._lazy_init_hp_params_optimizer_state()

    def _put(self, weight: nn.Parameter, value: Tensor, key: str | None) -> None:
        """This rank's part of a weight (`key` None) or of one of its moments."""
        value = value.to(self.device)
        if self._stage == 3:  # parts are equal, so that the last may have to be filled up
            part: int = weight.ds_tensor.ds_numel  # type: ignore[attr-defined]
            missing = part * ranks.world() - value.numel()
            flat = nn.functional.pad(value.flatten(), (0, missing))
            mine = flat.narrow(0, part * ranks.rank(), part)
            if key is not None:
                safe_set_local_optimizer_state(weight, mine, key)
                return
            safe_set_local_fp32_param(weight, mine)
            with _quiet(), deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
                weight.data.copy_(value)
        elif key is not None:
            safe_set_full_optimizer_state(weight, value, key)
        else:
            safe_set_full_fp32_param(weight, value)
            weight.data.copy_(value)

    def close(self) -> None:
        """Let go of the model, so that one process can run many engines in turn."""
        self._engine.destroy()


def device() -> torch.device:
    """Where this rank computes, an engine or not."""
    on_gpu = os.environ["DS_ACCELERATOR"] == "cuda"
    return torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else "cpu")


def join() -> None:
    """Meet the other ranks, if there are any; `rl.ranks` knows of them from then on."""
    ranks.join("nccl" if os.environ["DS_ACCELERATOR"] == "cuda" else "gloo")
