"""One batch into updates: what the gradient must not depend on, and which way it goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from rl.config import KLConfig, RunConfig
from rl.engine import Engine
from rl.logprobs import token_logps
from rl.models import Decoder
from rl.rollout import LocalSampler, Request
from rl.trainers import update as module
from rl.trainers.parts import forward_logits, make_engine, micro_batch_tokens
from rl.trainers.rollouts import collate
from rl.trainers.update import LossPenalty, response_logps, update_policy
from rl.types import Batch, Completion, Problem, Rollout
from tests.tiny import decoder, run_config, tokenizer

TOKENS = tokenizer()
ROWS = 12
MODES = ["sequence_mean", "token_mean", "constant"]
# With a bound where there is one; on-policy the gradient of each is that of `reinforce`.
CLOSE: list[tuple[str, float | None]] = [
    *(("unclipped", None), ("clipped", None), ("dual_clip", 3.0), ("cispo", 5.0)),
    *(("sequence_is", None), ("truncated_is", 2.0)),
]


def made_batch(
    model: Decoder, advantages: list[float] | None = None, temperature: float = 1.0
) -> Batch:
    """Sampled by the model, so that the sampler's log-probs are true."""
    texts = ["01=", "212=", "2="]
    prompts = [TOKENS.encode(texts[i % len(texts)]) for i in range(ROWS)]
    sampler = LocalSampler(model, eos_id=TOKENS.eos_id, pad_id=TOKENS.pad_id, max_rows=64)
    completions = sampler.generate(
        [Request(prompt, seed=50 + i) for i, prompt in enumerate(prompts)],
        temperature=temperature,
        max_new_tokens=10,
    )
    problem = Problem(0, "", "", 0)
    rollouts = [
        Rollout(problem, i, prompt, completion, "")
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
    if advantages is None:
        advantages = [Random(i).uniform(-1, 1) for i in range(ROWS)]
    return collate(rollouts, torch.tensor(advantages, dtype=torch.float64), TOKENS.pad_id)


def wider(batch: Batch, extra: int, token: int) -> Batch:
    """Padded by `extra` more columns of some token."""

    def pad(tensor: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, extra), value=value)

    return replace(
        batch,
        token_BT=pad(batch.token_BT, token),
        response_BT=pad(batch.response_BT, False),
        logp_sampler_BT=pad(batch.logp_sampler_BT, 0.0),
    )


def reordered(batch: Batch, order: list[int]) -> Batch:
    pick = torch.tensor(order)
    return Batch(**{name: getattr(batch, name)[pick] for name in batch.__dataclass_fields__})


class Probe(Engine):
    """Keeps the gradient of every update, before the optimiser takes it."""

    gradients: list[Tensor]

    def _gradient_norm(self) -> float:
        parts = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.gradients.append(torch.cat(parts).clone())
        return super()._gradient_norm()


@contextmanager
def probe(model: Decoder, config: RunConfig, updates: int = 1) -> Iterator[Probe]:
    opened = make_engine(model, config.optim, config.engine, updates)
    opened.__class__ = Probe
    assert isinstance(opened, Probe)
    opened.gradients = []
    yield opened
    opened.close()


def updated(
    batch: Batch, changes: dict[str, Any] | None = None, model_seed: int = 0
) -> tuple[list[Tensor], Tensor, dict[str, float]]:
    """Gradients of the updates of one step, the weights after it, and its metrics."""
    model, config = decoder(seed=model_seed), run_config(changes)
    with probe(model, config, config.loss.epochs * config.loss.minibatches) as opened:
        tokens = micro_batch_tokens(config.engine, model)
        metrics = update_policy(opened, batch, config, micro_tokens=tokens, seed=3, step=5)
    return opened.gradients, flat(model), metrics


def flat(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def weights_by_hand(batch: Batch, mode: str) -> list[float]:
    """What each row's sum over tokens is multiplied by."""
    lengths = batch.response_BT.sum(dim=1).tolist()
    return {
        "sequence_mean": [1 / (ROWS * n) for n in lengths],
        "token_mean": [1 / sum(lengths)] * ROWS,
        "constant": [1 / (ROWS * 10)] * ROWS,
    }[mode]


def loss_by_hand(batch: Batch, name: str, mode: str) -> float:
    """A ratio of 1 a token in the clipped loss, the log-prob in the other."""
    value_BT = (
        torch.ones_like(batch.logp_sampler_BT) if name == "clipped" else batch.logp_sampler_BT
    )
    sums = (value_BT * batch.response_BT).sum(dim=1).tolist()
    weights = weights_by_hand(batch, mode)
    return -sum(
        w * a * x for w, a, x in zip(weights, batch.advantage_B.tolist(), sums, strict=True)
    )


def by_hand(model: Decoder, batch: Batch, mode: str, *, temperature: float = 1.0) -> Tensor:
    """Gradient of -sum over rows of weight * A * log pi, one row at a time and without padding."""
    model.zero_grad()
    lengths = batch.response_BT.sum(dim=1).tolist()
    weight = weights_by_hand(batch, mode)
    for i in range(ROWS):
        row = batch.token_BT[i : i + 1, : int(batch.length_B[i])]
        logp = torch.log_softmax(forward_logits(model, row)[0, :-1] / temperature, dim=-1)
        chosen = logp.gather(1, row[0, 1:, None])[:, 0]
        total = chosen[-int(lengths[i]) :].sum()
        (-weight[i] * batch.advantage_B[i] * total).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def close(one: Tensor, two: Tensor) -> bool:
    """Equal to 1e-6 of the whole vector's norm; it was within 4e-7 wherever it was measured."""
    return bool((one - two).norm() <= 1e-6 * two.norm())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", ["reinforce", "clipped"])
def test_gradient_is_the_one_by_hand(name: str, temperature: float, mode: str) -> None:
    batch = made_batch(decoder(), temperature=temperature)
    changes = {
        "loss.name": name,
        "loss.aggregate": mode,
        "rollout.temperature": temperature,
        "engine.micro_batch_tokens": 60,
    }
    [gradient], _, metrics = updated(batch, changes)
    expected = by_hand(decoder(), batch, mode, temperature=temperature)
    assert float(expected.norm()) > 1e-3
    assert close(gradient, expected)
    assert metrics["train/grad_norm"] == pytest.approx(float(expected.norm()), rel=1e-5)
    assert metrics["train/loss"] == pytest.approx(loss_by_hand(batch, name, mode), abs=1e-5)


@settings(max_examples=12)
@given(
    order=st.permutations(list(range(ROWS))),
    size=st.integers(1, 200),
    extra=st.integers(0, 5),
    mode=st.sampled_from(MODES),
    token=st.integers(0, TOKENS.size - 1),
)
def test_gradient_ignores_row_order_micro_batches_and_padding(
    order: list[int], size: int, extra: int, mode: str, token: int
) -> None:
    batch = made_batch(decoder())
    [plain], _, before = updated(batch, {"loss.aggregate": mode})
    moved = reordered(wider(batch, extra, token), order)
    [gradient], _, after = updated(
        moved, {"loss.aggregate": mode, "engine.micro_batch_tokens": size}
    )
    assert close(gradient, plain)
    for key in ("train/loss", "train/grad_norm"):
        assert after[key] == pytest.approx(before[key], rel=1e-5, abs=1e-7)
    assert after["train/logp_gap_mean"] == pytest.approx(before["train/logp_gap_mean"], abs=1e-6)
    assert after["train/clip_fraction"] == 0.0


@settings(max_examples=10)
@given(zeros=st.sets(st.integers(0, ROWS - 1), max_size=ROWS - 1), mode=st.sampled_from(MODES))
def test_leaving_out_rows_of_advantage_zero_keeps_the_gradient(zeros: set[int], mode: str) -> None:
    """By hand all rows are kept; the denominators are those of the whole batch."""
    batch = made_batch(decoder(), [0.0 if i in zeros else 0.3 + 0.1 * i for i in range(ROWS)])
    [gradient], _, _ = updated(batch, {"loss.aggregate": mode, "engine.micro_batch_tokens": 48})
    assert close(gradient, by_hand(decoder(), batch, mode))


def test_rows_of_advantage_zero_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def counted(logits_BTV: Tensor, token_BT: Tensor, *, temperature: float) -> Tensor:
        rows.append(len(token_BT))
        return token_logps(logits_BTV, token_BT, temperature=temperature)

    monkeypatch.setattr(module, "token_logps", counted)
    updated(made_batch(decoder(), [1.0, -1.0, 0.5] + [0.0] * (ROWS - 3)))
    assert rows == [3]


def test_all_rows_of_advantage_zero_give_a_zero_gradient_and_a_step_of_momentum() -> None:
    model, config = decoder(), run_config()
    with probe(model, config, 2) as opened:
        zero = made_batch(model, [0.0] * ROWS)
        before = flat(model)
        metrics = update_policy(opened, zero, config, micro_tokens=60, seed=0, step=0)
        assert torch.equal(flat(model), before)
        assert (metrics["train/loss"], metrics["train/grad_norm"]) == (0.0, 0.0)
        update_policy(opened, made_batch(model), config, micro_tokens=60, seed=0, step=1)
        before = flat(model)
        update_policy(opened, zero, config, micro_tokens=60, seed=0, step=2)
        assert not torch.equal(flat(model), before)  # AdamW goes on by its first moment
    assert all(torch.isfinite(flat(model)))


@pytest.mark.parametrize(("name", "bound"), CLOSE)
@pytest.mark.parametrize("mode", MODES)
def test_one_on_policy_update_is_the_same_bits_clipped_or_not(
    mode: str, name: str, bound: float | None
) -> None:
    batch = made_batch(decoder())
    # Sampler's log-probs that are far off must not matter: the old ones are the trainer's own.
    batch = replace(batch, logp_sampler_BT=batch.logp_sampler_BT - 3.0)
    changes = {"loss.aggregate": mode, "engine.micro_batch_tokens": 60}
    one = updated(batch, {**changes, "loss.name": name, "loss.bound": bound})
    two = updated(batch, {**changes, "loss.name": "reinforce"})
    assert one[2]["train/clip_fraction"] == 0.0
    assert torch.equal(one[0][0], two[0][0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[1], flat(decoder()))


@pytest.mark.parametrize(("name", "bound"), [*CLOSE, ("gspo", None)])
def test_old_log_probs_of_the_sampler_take_no_pass_and_agree_up_to_the_gap(
    monkeypatch: pytest.MonkeyPatch, name: str, bound: float | None
) -> None:
    batch = made_batch(decoder())
    changes = {
        "loss.name": name,
        "loss.bound": bound,
        "loss.epochs": 2,
        "loss.minibatches": 2,
        "optim.lr": 1e-3,
    }
    plain, expected, before = updated(batch, changes)
    monkeypatch.setattr(module, "response_logps", None)  # would fail if it were called
    gradients, weights, after = updated(batch, {**changes, "loss.old_logps": "sampler"})
    assert after["train/logp_gap_max"] < 1e-5
    assert len(gradients) == len(plain) == 4
    for one, two in zip(gradients, plain, strict=True):
        assert float((one - two).norm() / two.norm()) < 1e-3
    assert float((weights - expected).norm() / expected.norm()) < 1e-3
    assert after["train/loss"] == pytest.approx(before["train/loss"], abs=1e-4)


def test_old_log_probs_of_the_sampler_are_the_ones_in_the_ratio() -> None:
    """Three nats below the trainer's, every ratio is e^3: all good responses are clipped."""
    batch = made_batch(decoder(), [1.0] * ROWS)
    batch = replace(batch, logp_sampler_BT=batch.logp_sampler_BT - 3.0)
    _, _, metrics = updated(batch, {"loss.name": "clipped", "loss.old_logps": "sampler"})
    assert metrics["train/clip_fraction"] == 1.0
    assert metrics["train/grad_norm"] == 0.0
    assert metrics["train/logp_gap_mean"] == pytest.approx(3.0, abs=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["reinforce", "clipped"])
def test_good_responses_become_likelier_and_bad_ones_less(name: str, sign: float) -> None:
    model = decoder()
    batch = made_batch(model, [sign] + [0.0] * (ROWS - 1))
    config = run_config({"loss.name": name, "optim.lr": 1e-3})
    with probe(model, config) as opened:
        before = response_logps(opened.model, batch, config, 60)
        update_policy(opened, batch, config, micro_tokens=60, seed=0, step=0)
        after = response_logps(opened.model, batch, config, 60)
    change = ((after - before) * batch.response_BT)[0].sum()
    assert float(change) * sign > 0.01


def test_later_updates_of_a_step_are_judged_by_its_first_weights() -> None:
    """Epochs repeat the batch, so that a large step is cut off by the clip, and only then."""
    batch = made_batch(decoder())
    once = updated(batch, {"loss.epochs": 1})[2]
    far = updated(batch, {"loss.epochs": 4, "optim.lr": 0.03})[2]
    near = updated(batch, {"loss.epochs": 4, "optim.lr": 1e-6})[2]
    assert once["train/clip_fraction"] == near["train/clip_fraction"] == 0.0
    assert 0.05 < far["train/clip_fraction"] < 1.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_clipped_tokens_give_no_gradient_and_are_counted(sign: float) -> None:
    """One-token responses, all alike: the first update takes every ratio past the bound. A third
    of the rows has advantage 0 and is never cut off, but counts among the tokens."""
    problem, prompt = Problem(0, "", "", 0), TOKENS.encode("01=")
    completion = Completion(TOKENS.encode("2"), (-1.0,), "length")
    rollouts = [Rollout(problem, i, prompt, completion, "") for i in range(ROWS)]
    batch = collate(rollouts, torch.tensor([sign, sign, 0.0] * (ROWS // 3)), TOKENS.pad_id)
    changes = {"loss.epochs": 2, "loss.clip_high": 1e-4, "loss.clip_low": 1e-4}
    (first, second), _, metrics = updated(batch, changes)
    assert float(first.norm()) > 0.01
    assert float(second.norm()) == 0.0
    assert metrics["train/clip_fraction"] == pytest.approx((0 + 2 / 3) / 2)


@pytest.mark.parametrize(("epochs", "minibatches"), [(2, 2), (1, 3), (3, 1)])
def test_minibatches_divide_and_cover_every_row_once_an_epoch(
    epochs: int, minibatches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    real = module.micro_losses

    def noted(engine: Any, batch: Any, old: Any, rows: Tensor, *rest: Any, **named: Any) -> Any:
        seen.append(rows)
        return real(engine, batch, old, rows, *rest, **named)

    monkeypatch.setattr(module, "micro_losses", noted)
    changes = {
        "rollout.prompts": 3,
        "loss.epochs": epochs,
        "loss.minibatches": minibatches,
    }
    gradients, _, _ = updated(made_batch(decoder()), changes)
    assert len(gradients) == len(seen) == epochs * minibatches
    assert {len(rows) for rows in seen} == {ROWS // minibatches}
    for epoch in range(epochs):
        taken = torch.cat(seen[epoch * minibatches : (epoch + 1) * minibatches]).tolist()
        assert sorted(taken) == list(range(ROWS))
        assert (taken == list(range(ROWS))) == (minibatches == 1)  # shuffled where it matters
    if minibatches > 1 and epochs > 1:
        assert not torch.equal(seen[0], seen[minibatches])


def test_minibatch_gradients_add_up_to_the_batchs() -> None:
    """At a tiny learning rate: each is a mean over half of the rows."""
    batch = made_batch(decoder())
    halves, _, metrics = updated(batch, {"loss.minibatches": 2, "optim.lr": 1e-12})
    [whole], _, single = updated(batch, {})
    assert close((halves[0] + halves[1]) / 2, whole)
    norms = [float(half.norm()) for half in halves]
    assert metrics["train/grad_norm"] == pytest.approx(sum(norms) / 2, rel=1e-5)
    assert metrics["train/loss"] == pytest.approx(single["train/loss"], abs=1e-6)


def test_log_prob_gap_is_the_samplers_distance_from_the_trainer() -> None:
    """Measured at most 1e-6 nats for this model."""
    batch = made_batch(decoder())
    _, _, metrics = updated(batch)
    assert 0 <= metrics["train/logp_gap_mean"] <= metrics["train/logp_gap_max"] < 5e-6
    off = batch.logp_sampler_BT.clone()
    first = int(batch.response_BT[0].nonzero()[0])
    off[0, first] += 0.5
    _, _, metrics = updated(replace(batch, logp_sampler_BT=off))
    assert metrics["train/logp_gap_max"] == pytest.approx(0.5, abs=1e-5)
    share = 0.5 / int(batch.response_BT.sum())
    assert metrics["train/logp_gap_mean"] == pytest.approx(share, abs=1e-5)


def test_policy_log_probs_are_aligned_with_the_tokens() -> None:
    model, config = decoder(), run_config({"engine.micro_batch_tokens": 60})
    batch = made_batch(model)
    with probe(model, config) as opened:
        logps = response_logps(opened.model, batch, config, 60)
    for i in range(ROWS):
        row = batch.token_BT[i : i + 1, : int(batch.length_B[i])]
        with torch.no_grad():
            expected = token_logps(forward_logits(model, row), row, temperature=1.0)[0]
        response = batch.response_BT[i, : len(expected)]
        assert torch.allclose(logps[i, : len(expected)][response], expected[response], atol=5e-6)
    assert not logps[~batch.response_BT].any()


def test_aggregates_are_one_where_all_responses_have_the_full_length() -> None:
    """16 responses of 8 tokens, max_new_tokens 8: every denominator is a power of two, so that the
    gradients are equal to the last bit; at uneven lengths they are not."""
    model = decoder()
    sampler = LocalSampler(model, eos_id=TOKENS.eos_id, pad_id=TOKENS.pad_id, max_rows=64)
    prompts = [TOKENS.encode(["01=", "212=", "2="][i % 3]) for i in range(16)]
    rollouts: dict[bool, list[Rollout]] = {}
    for full in (True, False):
        completions = sampler.generate(
            [Request(prompt, seed=50 + i) for i, prompt in enumerate(prompts)],
            temperature=1.0,
            max_new_tokens=8,
            ignore_eos=full,
        )
        rollouts[full] = [
            Rollout(Problem(0, "", "", 0), i, prompt, completion, "")
            for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
    advantages = torch.tensor([Random(i).uniform(-1, 1) for i in range(16)], dtype=torch.float64)
    for full, found in rollouts.items():
        batch = collate(found, advantages, TOKENS.pad_id)
        first, *others = (
            updated(batch, {"loss.aggregate": mode, "rollout.max_new_tokens": 8}) for mode in MODES
        )
        for gradients, weights, metrics in others:
            assert torch.equal(gradients[0], first[0][0]) is full
            assert torch.equal(weights, first[1]) is full
            assert (metrics["train/grad_norm"] == first[2]["train/grad_norm"]) is full


def test_a_penalty_in_the_loss_speaks_of_every_row() -> None:
    """Rows of advantage 0 too: k2 of the whole batch, by hand from plain log-probabilities."""
    model, config = decoder(), run_config({"optim.lr": 1e-3})
    batch = made_batch(model, [0.0] * ROWS)
    away_BT = torch.linspace(-0.5, 0.5, ROWS)[:, None] * batch.response_BT
    kl = KLConfig(
        loss=1.0, estimator="k2", level="token", weighted=False, refresh=None, target=None
    )
    with probe(model, config) as opened:
        logp_BT = response_logps(opened.model, batch, config, 60)
        penalty = LossPenalty(logp_BT - away_BT, 0.7, kl)
        metrics = update_policy(
            opened, batch, config, micro_tokens=60, seed=0, step=0, penalty=penalty
        )
    wanted = 0.7 * float((away_BT**2 / 2).sum()) / (ROWS * config.rollout.max_new_tokens)
    assert metrics["train/loss"] == pytest.approx(wanted, rel=1e-5)


def test_ratios_told_are_those_of_the_last_update() -> None:
    """At the second of two updates the policy is where the first has taken it."""
    batch = made_batch(decoder())
    changes = {"optim.lr": 0.01, "loss.name": "unclipped", "loss.epochs": 2}
    told = updated(batch, changes)[2]["train/ratio_quantiles"]
    model, config = decoder(), run_config({**changes, "loss.epochs": 1})
    with probe(model, config) as opened:
        before_BT = response_logps(opened.model, batch, config, 60)
        update_policy(opened, batch, config, micro_tokens=60, seed=3, step=5)
        after_BT = response_logps(opened.model, batch, config, 60)
    ratio_N = (after_BT - before_BT)[batch.response_BT].exp()
    assert isinstance(told, dict)
    for q, ratio in told.items():
        assert ratio == pytest.approx(float(ratio_N.quantile(q)), rel=1e-3)
    assert min(told.values()) < 0.9 < 1.1 < max(told.values())
