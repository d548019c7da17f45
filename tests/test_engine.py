"""The engine against plain torch: updates, schedules, clipping, state, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rl.engine import Engine, Update

ROOT = Path(__file__).resolve().parent.parent
SETTINGS: dict[str, Any] = {
    "lr": 0.01,
    "betas": (0.9, 0.95),
    "eps": 1e-8,
    "weight_decay": 0.1,
    "warmup_steps": 0,
    "schedule": "constant",
    "total_updates": 6,
    "grad_clip": 0.0,
    "zero_stage": 0,
    "precision": "fp32",
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def data(update: int) -> tuple[Tensor, Tensor]:
    """16 rows, others at every update."""
    generator = torch.Generator().manual_seed(100 + update)
    return torch.randn(16, 5, generator=generator), torch.randn(16, 3, generator=generator)


@contextmanager
def engine(**changes: Any) -> Iterator[Engine]:
    opened = Engine(network(), **{**SETTINGS, **changes})
    yield opened
    opened.close()


def losses(opened: Engine, update: int, size: int) -> Iterator[Callable[[], Tensor]]:
    """Micro-batches of `size` rows; their sum is the mean over the 16."""
    x, y = data(update)
    kind = next(opened.model.parameters()).dtype
    for start in range(0, 16, size):
        part, target = x[start : start + size].to(kind), y[start : start + size].to(kind)
        yield lambda part=part, target=target: ((opened.model(part) - target) ** 2).sum() / 16


def train(opened: Engine, updates: range, size: int = 16) -> list[Update]:
    return [opened.update(losses(opened, update, size)) for update in updates]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().float().flatten() for p in model.parameters()])


def torch_update(model: nn.Module, optimiser: torch.optim.Optimizer, update: int) -> None:
    """Without the engine."""
    x, y = data(update)
    optimiser.zero_grad()
    (((model(x) - y) ** 2).sum() / 16).backward()
    optimiser.step()


def adamw(model: nn.Module, lr: float = 0.01) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1
    )


def test_updates_are_those_of_torch_bit_for_bit() -> None:
    plain = network()
    optimiser = adamw(plain)
    with engine() as opened:
        start = weights(opened.model)
        for update in range(6):
            torch_update(plain, optimiser, update)
            train(opened, range(update, update + 1))
            assert torch.equal(weights(opened.model), weights(plain))
        assert float((weights(opened.model) - start).norm()) > 0.1


def test_update_goes_down_the_loss() -> None:
    with engine() as opened:
        repeated = [opened.update(losses(opened, 0, 16)).loss for _ in range(5)]
    assert repeated == sorted(repeated, reverse=True)
    assert repeated[-1] < repeated[0] - 0.1


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [0.01] * 6),
        ("constant", 4, [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]),
        ("linear", 2, [0.005, 0.01, 0.01, 0.0075, 0.005, 0.0025]),
        ("cosine", 0, [0.01, 0.00933012701892219, 0.0075, 0.005, 0.0025, 0.000669872981077807]),
        ("cosine", 2, [0.005, 0.01, 0.01, 0.00853553390593274, 0.005, 0.00146446609406726]),
    ],
)
def test_learning_rates(schedule: str, warmup: int, expected: list[float]) -> None:
    """By hand: of 6 updates, the w of the warm-up climb to 0.01, then 1 - k/(6-w), or
    (1 + cos(pi k/(6-w))) / 2, for k = 0, 1, ...; the weights are those of torch at these rates."""
    plain = network()
    optimiser = adamw(plain)
    with engine(schedule=schedule, warmup_steps=warmup) as opened:
        rates = [made.lr for made in train(opened, range(6))]
        assert rates == pytest.approx(expected, rel=1e-12)
        for update, rate in enumerate(rates):
            optimiser.param_groups[0]["lr"] = rate
            torch_update(plain, optimiser, update)
        assert torch.equal(weights(opened.model), weights(plain))


def test_gradient_norm_is_by_hand_and_before_clipping() -> None:
    plain = network()
    x, y = data(0)
    loss = ((plain(x) - y) ** 2).sum() / 16
    loss.backward()
    squares = [float((p.grad**2).sum()) for p in plain.parameters() if p.grad is not None]
    norm = sum(squares) ** 0.5
    for clip in (0.0, norm / 2):
        with engine(grad_clip=clip) as opened:
            [made] = train(opened, range(1))
        assert made.grad_norm == pytest.approx(norm, rel=1e-6)
        assert made.loss == pytest.approx(float(loss.detach()), rel=1e-6)


@pytest.mark.parametrize("clip", [0.3, 2.0, 100.0])
def test_clipping_is_that_of_torch(clip: float) -> None:
    """Plain SGD would show a scale that AdamW hides, so the second moments are compared."""
    plain = network()
    optimiser = adamw(plain)
    with engine(grad_clip=clip) as opened:
        for update in range(4):
            x, y = data(update)
            optimiser.zero_grad()
            (((plain(x) - y) ** 2).sum() / 16).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), clip)
            optimiser.step()
            train(opened, range(update, update + 1))
        ours = opened._optimizer.state
        for parameter, twin in zip(plain.parameters(), opened.model.parameters(), strict=True):
            for name in ("exp_avg", "exp_avg_sq"):
                torch.testing.assert_close(
                    ours[twin][name], optimiser.state[parameter][name], rtol=1e-5, atol=1e-9
                )
        assert float((weights(opened.model) - weights(plain)).abs().max()) < 1e-6


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_micro_batches_and_zero_stages_do_not_change_an_update(stage: int, size: int) -> None:
    plain = network()
    optimiser = adamw(plain)
    for update in range(3):
        torch_update(plain, optimiser, update)
    with engine() as opened:
        whole = train(opened, range(3))
    with engine(zero_stage=stage) as opened:
        cut = train(opened, range(3), size)
        for one, two in zip(whole, cut, strict=True):
            assert two.loss == pytest.approx(one.loss, rel=1e-6)
            assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-6)
            assert two.lr == one.lr
        with torch.no_grad():
            x, _ = data(9)
            assert float((opened.model(x) - plain(x)).abs().max()) < 1e-6


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_bf16_runs_near_fp32(stage: int) -> None:
    """bf16 keeps 8 bits: losses agree to a percent."""
    with engine() as opened:
        exact = train(opened, range(4))
    with engine(zero_stage=stage, precision="bf16") as opened:
        coarse = train(opened, range(4), 4)
    for one, two in zip(exact, coarse, strict=True):
        assert two.loss == pytest.approx(one.loss, rel=0.02)
        assert two.loss != one.loss
        assert two.grad_norm == pytest.approx(one.grad_norm, rel=0.03)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_first_update_in_bf16_is_of_the_learning_rate(stage: int) -> None:
    """AdamW's first step is lr times the sign of the gradient, whatever its size (1412.6980)."""
    plain = {"lr": 0.125, "weight_decay": 0.0, "warmup_steps": 0, "schedule": "constant"}
    with engine(zero_stage=stage, precision="bf16", **plain) as opened:
        before = weights(opened.model).clone()
        train(opened, range(1))
        step = (weights(opened.model) - before).abs()
    assert float(step.median()) == pytest.approx(0.125, rel=0.01)


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (2, "fp32"), (0, "bf16")])
def test_a_gradient_that_is_not_finite_is_an_error_and_moves_nothing(
    stage: int, precision: str
) -> None:
    with engine(zero_stage=stage, precision=precision) as opened:
        train(opened, range(2))
        before = weights(opened.model).clone()

        def bad() -> Tensor:
            x = data(0)[0].to(next(opened.model.parameters()).dtype)
            return opened.model(x).sum() * float("inf")

        with pytest.raises(FloatingPointError, match=r"gradient norm is (nan|inf); lower optim.lr"):
            opened.update([bad])
        assert torch.equal(weights(opened.model), before)


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (0, "bf16"), (2, "fp32")])
def test_saved_and_loaded_run_goes_on_bit_for_bit(
    stage: int, precision: str, tmp_path: Path
) -> None:
    changes = {
        "schedule": "linear",
        "warmup_steps": 2,
        "zero_stage": stage,
        "precision": precision,
    }
    with engine(**changes) as opened:
        unbroken = train(opened, range(6), 8)
        expected = weights(opened.model).clone()
    with engine(**changes) as opened:
        first = train(opened, range(3), 8)
        opened.save(tmp_path, {"step": 3, "name": "here"})
    with engine(**changes) as opened:
        assert opened.load(tmp_path) == {"step": 3, "name": "here"}
        rest = train(opened, range(3, 6), 8)
        assert first + rest == unbroken
        assert torch.equal(weights(opened.model), expected)


def test_loading_nothing_is_an_error(tmp_path: Path) -> None:
    with engine() as opened, pytest.raises(FileNotFoundError, match="no checkpoint"):
        opened.load(tmp_path)


def test_engines_follow_one_another_and_stand_side_by_side() -> None:
    with engine() as alone:
        expected = train(alone, range(3))
    with engine() as one, engine() as two:
        for update in range(3):
            assert train(one, range(update, update + 1)) == [expected[update]]
            assert train(two, range(update, update + 1), 4)[0].lr == expected[update].lr
    with engine() as again:
        assert train(again, range(3)) == expected


FIRST_USE = """
import torch
from torch import nn
from rl.engine import Engine

model = nn.Linear(3, 2)
engine = Engine(
    model, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, warmup_steps=0,
    schedule="constant", total_updates=1, grad_clip=1.0, zero_stage=0, precision="fp32",
)
assert engine.update([lambda: engine.model(torch.ones(1, 3)).sum()]).grad_norm > 0
engine.close()
"""


def test_first_use_compiles_nothing_needs_no_launcher_and_is_silent(tmp_path: Path) -> None:
    """MASTER_ADDR and MASTER_PORT are unset, and the program search path has no compiler."""
    extensions, home = tmp_path / "extensions", tmp_path / "home"
    extensions.mkdir()
    home.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        and name != "DS_ACCELERATOR"
    }
    environment |= {
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "HOME": str(home),
        "PATH": str(home),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(extensions.rglob("*")) == []
    assert list(home.rglob("*.so")) == []
