"""PPO of a decoder: the plain policy gradient without its critic, and what the critic adds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rl.artifacts import SAME, RunWriter, read_lines
from rl.config import PPOConfig
from rl.engine import Engine
from rl.gae import gae
from rl.models import ActorCritic, Decoder, ScalarDecoder, scalar_head
from rl.tasks import ChainSum
from rl.trainers import ppo, ppo_update
from rl.trainers.critic import final_scores, make_critic, monte_carlo, pretrain_critic
from rl.trainers.parts import engine_for
from rl.trainers.ppo import critic_metrics, train_ppo
from rl.trainers.ppo_update import Drawn, Seen, see, see_all, update_ppo
from rl.trainers.scoring import Scorer
from rl.types import Batch, Completion, Problem, Rollout
from tests.test_policy_update import TOKENS, close, made_batch, updated
from tests.tiny import OPTIM, decoder, ppo_config, tokenizer

FACTS: dict[str, Any] = {**dict.fromkeys(SAME, "same"), "arm": "p", "seed": 0, "started": "now"}
KINDS = ["head", "separate"]
CHANNELS = 32
PRETRAIN = {"updates": 3, "optim": OPTIM}


def actor_critic(kind: str, model: Decoder, *, zero: bool = False) -> ActorCritic:
    head = scalar_head(CHANNELS, seed=1)
    if zero:
        nn.init.zeros_(head.weight)
    critic = head if kind == "head" else ScalarDecoder(decoder(seed=5), head)
    return ActorCritic(model, critic)


class Probe(Engine):
    """Keeps the gradient of every update."""

    gradients: list[Tensor]

    def _gradient_norm(self) -> float:
        parts = [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in self.model.parameters()
        ]
        self.gradients.append(torch.cat(parts).clone())
        return super()._gradient_norm()


@contextmanager
def probe(module: nn.Module, config: PPOConfig) -> Iterator[Probe]:
    engine = engine_for(module, config.optim, config.engine, 1000)
    engine.__class__ = Probe
    assert isinstance(engine, Probe)
    engine.gradients = []
    yield engine
    engine.close()


def drawn(engine: Engine, batch: Batch, config: PPOConfig, score_B: Tensor) -> Drawn:
    """With scores on last tokens, no penalty, and the advantages that the config asks for."""
    seen = see_all(engine.model, batch, config, 200)
    mask_BT = batch.response_BT
    last_BT = torch.arange(mask_BT.shape[1]) == batch.length_B[:, None] - 1
    advantage_BT, return_BT = gae(
        torch.where(last_BT, score_B[:, None], 0.0),
        seen.value_BT,
        mask_BT,
        discount=config.advantage.discount,
        trace=config.advantage.trace,
        value_after_B=None,
    )
    return Drawn(batch, seen.logp_BT, seen.value_BT, advantage_BT, return_BT)


def step(
    kind: str, changes: dict[str, Any], *, zero: bool = False, micro_tokens: int = 200
) -> tuple[list[Tensor], dict[str, Any]]:
    """The gradients of one step on a made batch, and its metrics; scores are its advantages."""
    config, model = ppo_config(changes), decoder()
    batch = made_batch(model)
    with probe(actor_critic(kind, model, zero=zero), config) as engine:
        found = drawn(engine, batch, config, batch.advantage_B)
        metrics = update_ppo(engine, found, config, micro_tokens=micro_tokens, seed=3, step=5)
    return engine.gradients, metrics


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "mode"),
    [("unclipped", "constant"), ("clipped", "token_mean"), ("clipped", "sequence_mean")],
)
def test_without_a_critic_it_is_the_plain_policy_gradient(name: str, mode: str, kind: str) -> None:
    """gamma = lambda = 1, V = 0 and c1 = 0: every token has the response's score for advantage."""
    changes = {"loss.name": name, "loss.aggregate": mode, "advantage.trace": 1.0, "loss.value": 0.0}
    [whole], metrics = step(kind, changes, zero=True)
    [plain], _, expected = updated(
        made_batch(decoder()), {"loss.name": name, "loss.aggregate": mode}
    )
    assert float(plain.norm()) > 1e-3
    assert close(whole[: len(plain)], plain)
    assert not whole[len(plain) :].any()
    for key in ("train/loss", "train/grad_norm", "train/clip_fraction"):
        assert metrics[key] == pytest.approx(expected[key], rel=1e-5, abs=1e-7)
    assert metrics["ppo/policy_loss"] == pytest.approx(expected["train/loss"], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_valued_by_the_state_before_it(kind: str) -> None:
    """Row by row, without padding and shared prompts, and in whatever micro-batches."""
    config, model = ppo_config(), decoder()
    batch, module = made_batch(model), actor_critic(kind, model)
    whole = see(module, batch, config)
    for tokens in (1, 40):
        parts = see_all(module, batch, config, tokens)
        for one, other in zip(parts, whole, strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-5, atol=1e-5)
    for i, length in enumerate(batch.length_B.tolist()):
        row_1T = batch.token_BT[i : i + 1, :length]
        prompt = length - int(batch.response_BT[i].sum())
        states = model(input_ids=row_1T, output_hidden_states=True).hidden_states[-1]
        if isinstance(module.critic, ScalarDecoder):
            numbers = module.critic(row_1T)[0]
        else:
            numbers = module.critic(states)[0, :, 0]
        torch.testing.assert_close(
            whole.value_BT[i, prompt:length], numbers[prompt - 1 : -1], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(whole.value_after_B[i], numbers[-1], rtol=1e-4, atol=1e-5)
    for off_BT in (whole.value_BT, whole.logp_BT, whole.entropy_BT):
        assert not off_BT[~batch.response_BT].any()
    torch.testing.assert_close(whole.logp_BT, batch.logp_sampler_BT, rtol=1e-4, atol=1e-5)


def test_the_first_of_its_updates_is_on_policy_bit_for_bit() -> None:
    changes = {"loss.minibatches": 1, "loss.entropy": 0.02}
    [clipped], metrics = step("separate", {**changes, "loss.name": "clipped"})
    [unclipped], _ = step("separate", {**changes, "loss.name": "unclipped"})
    assert torch.equal(clipped, unclipped)
    assert metrics["train/clip_fraction"] == 0.0


@pytest.mark.parametrize("mode", ["constant", "token_mean", "sequence_mean"])
def test_the_gradient_ignores_micro_batches(mode: str) -> None:
    changes = {
        "loss.aggregate": mode,
        "loss.entropy": 0.1,
        "loss.value_clip": 0.2,
        "advantage.whiten": "minibatch",
    }
    [whole], _ = step("separate", changes, micro_tokens=10**6)
    [parts], _ = step("separate", changes, micro_tokens=30)
    assert close(parts, whole)


def test_the_loss_is_policy_plus_c1_value_minus_c2_entropy() -> None:
    """Of the gradients of the three, each taken alone."""
    off = {"loss.value": 0.0, "loss.entropy": 0.0}
    [policy], only = step("head", off)
    [value], _ = step("head", {**off, "loss.value": 1.0})
    [entropy], metrics = step("head", {**off, "loss.entropy": 1.0})
    [whole], both = step("head", {"loss.value": 0.5, "loss.entropy": 0.1})
    assert close(whole, policy + 0.5 * (value - policy) + 0.1 * (entropy - policy))
    bonus = only["train/loss"] - metrics["train/loss"]
    assert bonus > 0.1  # entropy is over 0
    total = both["ppo/policy_loss"] + 0.5 * both["ppo/value_loss"] - 0.1 * bonus
    assert both["train/loss"] == pytest.approx(total, rel=1e-5)


def stepped(
    kind: str, changes: dict[str, Any], change: Callable[[Drawn], Drawn], updates: int
) -> tuple[Batch, list[Tensor]]:
    """What policy and critic say of a batch before and after many steps on it."""
    config, model = ppo_config(changes), decoder(gain=2.0)
    batch = made_batch(model)
    with probe(actor_critic(kind, model), config) as engine:
        found = change(drawn(engine, batch, config, batch.advantage_B))
        before = see_all(engine.model, batch, config, 200)
        for k in range(updates):
            update_ppo(engine, found, config, micro_tokens=10**6, seed=3, step=k)
        after = see_all(engine.model, batch, config, 200)
    mask_BT = batch.response_BT
    return batch, [x[mask_BT] for s in (before, after) for x in (s.value_BT, s.entropy_BT)]


def of_nothing(found: Drawn) -> Drawn:
    return replace(found, advantage_BT=torch.zeros_like(found.advantage_BT))


@pytest.mark.parametrize("kind", KINDS)
def test_values_learn_a_constant_return(kind: str) -> None:
    def constant(found: Drawn) -> Drawn:
        return replace(of_nothing(found), return_BT=torch.full_like(found.return_BT, 0.7))

    _, [before, _, after, _] = stepped(kind, {"loss.value": 1.0}, constant, 60)
    assert float((before - 0.7).abs().mean()) > 0.3
    assert float((after - 0.7).abs().mean()) < 0.1


def test_the_entropy_bonus_raises_entropy_and_nothing_else_moves_it() -> None:
    changes = {"loss.value": 0.0, "loss.entropy": 0.1}
    _, [_, before, _, after] = stepped("separate", changes, of_nothing, 5)
    assert float(after.mean()) > float(before.mean()) + 0.05
    _, [_, before, _, after] = stepped("separate", {**changes, "loss.entropy": 0.0}, of_nothing, 5)
    assert torch.equal(before, after)


def test_advantages_are_whitened_over_the_stated_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    real = ppo_update.policy_loss

    def kept(logp: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, **how: Any) -> Tensor:
        seen.append(advantage[mask].double())
        return real(logp, old, advantage, mask, **how)

    monkeypatch.setattr(ppo_update, "policy_loss", kept)
    two = {"loss.minibatches": 2}
    for scope in ("none", "minibatch"):
        step("separate", {**two, "advantage.whiten": scope}, micro_tokens=10**6)
    plain, white = seen[:2], seen[2:]
    for one, other in zip(plain, white, strict=True):
        by_hand = (one - one.mean()) / one.std(correction=0)
        torch.testing.assert_close(other, by_hand, rtol=1e-4, atol=1e-5)
    whole = torch.cat(plain)
    assert abs(float(whole[: len(plain[0])].mean() - whole.mean())) > 1e-3  # the scopes differ


# Runs.


def run(directory: Path, changes: dict[str, Any], die_at: int | None = None) -> list[int]:
    """A whole run, or one that fails after step `die_at`; which steps were done."""
    done: list[int] = []

    def report(at: int, _: float) -> None:
        done.append(at)
        if at == die_at:
            raise InterruptedError

    with RunWriter(directory, FACTS, checkpoint_seconds=0) as log:
        tokens = train_ppo(ppo_config(changes), seed=3, model=decoder(), log=log, report=report)
        log.finish({"tokens": tokens})
    return done


def values(directory: Path, name: str) -> list[Any]:
    lines = read_lines(directory / "metrics.jsonl")
    return [line["values"][name] for line in lines if name in line["values"]]


EVERYTHING: dict[str, Any] = {
    "steps": 4,
    "reward.kl": 0.1,
    "missing_eos": {"method": "replace", "value": -1.0},
    "advantage.bootstrap": True,
    "advantage.whiten": "batch",
    "critic.start": "base",
    "critic.pretrain": PRETRAIN,
    "loss.epochs": 2,
    "loss.minibatches": 2,
    "loss.value_clip": 0.2,
    "loss.entropy": 0.01,
    "optim": {**OPTIM, "warmup_steps": 3, "schedule": "linear", "weight_decay": 0.1},
    "eval.every": 2,
}


@pytest.mark.parametrize(
    "changes",
    [EVERYTHING, {"steps": 4, "critic": {**ppo_config().critic.model_dump(), "kind": "head"}}],
    ids=["separate", "head"],
)
def test_a_run_that_failed_goes_on_to_the_same_bytes(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    assert run(tmp_path / "whole", changes) == [1, 2, 3, 4]
    with pytest.raises(InterruptedError):
        run(tmp_path / "cut", changes, die_at=2)
    assert run(tmp_path / "cut", changes) == [3, 4]
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_rewards_of_tokens_and_values_after_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The penalty is that of moving away; only what was cut off is followed by a value."""
    given: list[dict[str, Any]] = []
    real_rewards, real_gae = ppo.token_rewards, ppo.gae

    def rewards(score: Tensor, kl: Tensor, mask: Tensor, *, coefficient: float) -> Tensor:
        given.append({"score": score, "kl": kl, "mask": mask})
        return real_rewards(score, kl, mask, coefficient=coefficient)

    def advantages(
        reward: Tensor, value: Tensor, mask: Tensor, **how: Any
    ) -> tuple[Tensor, Tensor]:
        given[-1] |= {"reward": reward, "value": value, "after": how["value_after_B"]}
        return real_gae(reward, value, mask, **how)

    monkeypatch.setattr(ppo, "token_rewards", rewards)
    monkeypatch.setattr(ppo, "gae", advantages)
    missing = {"missing_eos": {"method": "replace", "value": -1.0}}
    run(tmp_path / "run", {"reward.kl": 0.5, "advantage.bootstrap": True, **missing})
    first, second = given
    assert not first["kl"].any()
    assert float(second["kl"].sum(dim=1).mean()) == pytest.approx(
        values(tmp_path / "run", "train/kl")[1]
    )
    assert float(second["kl"].sum(dim=1).mean()) > 0.05
    for at in given:
        cut_B = at["score"] == -1
        assert cut_B.any()
        assert torch.equal(at["after"] != 0, cut_B)
        sums_B = at["reward"].sum(dim=1)
        torch.testing.assert_close(sums_B, at["score"] - 0.5 * at["kl"].sum(dim=1))
    run(tmp_path / "plain", {"advantage.bootstrap": False})
    assert given[-1]["after"] is None


def test_a_whole_batch_is_whitened_and_its_targets_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Drawn] = []
    real = ppo.update_ppo

    def kept(engine: Engine, found: Drawn, config: PPOConfig, **how: Any) -> Any:
        given.append(found)
        return real(engine, found, config, **how)

    monkeypatch.setattr(ppo, "update_ppo", kept)
    for scope in ("none", "batch"):
        run(tmp_path / scope, {"steps": 1, "advantage.whiten": scope})
    plain, white = given
    mask_BT = plain.batch.response_BT
    values_N = plain.advantage_BT[mask_BT]
    by_hand = (values_N - values_N.mean()) / values_N.std(correction=0)
    torch.testing.assert_close(white.advantage_BT[mask_BT], by_hand, rtol=1e-4, atol=1e-5)
    assert torch.equal(white.return_BT, plain.return_BT)


def test_what_is_said_of_a_critic_by_hand() -> None:
    mask_BT = torch.tensor([[True, True, False]])
    value_BT, mc_BT = torch.tensor([[2.0, 1.0, 9.0]]), torch.tensor([[1.0, 3.0, 9.0]])
    advantage_BT, return_BT = torch.tensor([[-1.0, 3.0, 9.0]]), torch.tensor([[2.0, 1.0, 9.0]])
    batch = Batch(mask_BT.long(), torch.tensor([2]), mask_BT, value_BT, torch.zeros(1))
    seen = Seen(value_BT, torch.tensor([[0.5, 0.7, 9.0]]), value_BT, torch.zeros(1))
    assert critic_metrics(batch, seen, advantage_BT, return_BT, mc_BT) == pytest.approx(
        {
            "ppo/entropy": 0.6,
            "ppo/value": 1.5,
            "ppo/value_bias": -0.5,  # 1 too high, 2 too low
            "ppo/value_error": 2.5,
            "ppo/advantage": 1.0,
            "ppo/advantage_std": 2.0,
            "ppo/explained_variance": -1.25,  # 1 - 2.25 / 1
            "ppo/target_explained_variance": 1.0,
        }
    )


def scorer() -> Scorer:
    """1 where the prompt begins with 0: a critic can know it from the start."""

    def good(rollout: Rollout) -> float:
        return float(rollout.problem.prompt[0] == "0")

    return Scorer(lambda rollouts: [good(r) for r in rollouts], 1.0, good)


def test_pretraining_explains_what_can_be_known(tmp_path: Path) -> None:
    changes = {
        "critic.start": "base",
        "critic.pretrain": {"updates": 60, "optim": OPTIM},
        "rollout.prompts": 16,
        "rollout.group_size": 2,
    }
    config, model = ppo_config(changes), decoder()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    critic = make_critic(config, model=model, tokenizer=tokenizer(), learned=None, seed=3)
    assert isinstance(critic, ScalarDecoder)
    with RunWriter(tmp_path / "run", FACTS) as log:
        tokens = pretrain_critic(
            critic,
            config,
            model=model,
            task=ChainSum(modulus=3, digits=(2, 3)),
            tokenizer=tokenizer(),
            scorer=scorer(),
            micro_tokens=10**6,
            seed=3,
            log=log,
        )
    assert tokens > 60 * 32
    [by_update] = values(tmp_path / "run", "ppo/pretrain_explained_variance")
    explained = list(by_update.values())
    assert explained[0] < 0.2
    assert sum(explained[-5:]) / 5 > 0.7
    [by_update] = values(tmp_path / "run", "ppo/pretrain_value_loss")
    losses = list(by_update.values())
    assert losses[-1] < losses[0]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name])  # the policy stays what it was


def test_monte_carlo_returns_by_hand() -> None:
    reward_BT = torch.tensor([[9.0, 0.0, 1.0, 4.0, 9.0]])
    mask_BT = torch.tensor([[False, True, True, True, False]])
    found = monte_carlo(reward_BT, mask_BT, discount=0.5)
    assert found.tolist() == [[0.0, 1.5, 3.0, 4.0, 0.0]]


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        ("keep", 0.0, [1.0, 0.25]),
        ("replace", -1.0, [1.0, -1.0]),
        ("subtract", 1.0, [1.0, -0.75]),
    ],
)
def test_scores_of_responses_without_an_end(
    method: str, value: float, expected: list[float]
) -> None:
    problem = Problem(0, "", "", 0)
    rollouts = [
        Rollout(problem, 0, (1,), Completion((1,), (0.0,), "stop"), ""),
        Rollout(problem, 1, (1,), Completion((1,), (0.0,), "length"), ""),
    ]
    config = ppo_config({"missing_eos": {"method": method, "value": value}})
    scores_PG = torch.tensor([[1.0, 0.25]], dtype=torch.float64)
    assert final_scores(config, scores_PG, rollouts).tolist() == expected


# Where a critic comes from.


def critic_of(seed: int = 3, model: Decoder | None = None, **critic: Any) -> ScalarDecoder:
    settings = {**ppo_config().critic.model_dump(), **critic}
    made = make_critic(
        ppo_config({"critic": settings}),
        model=model or decoder(),
        tokenizer=tokenizer(),
        learned=None,
        seed=seed,
    )
    assert isinstance(made, ScalarDecoder)
    return made


def test_a_critic_is_random_by_seed_or_the_base_models_trunk() -> None:
    model, token_BT = decoder(), torch.tensor([TOKENS.encode("012=")])
    assert torch.equal(critic_of()(token_BT), critic_of()(token_BT))
    assert not torch.allclose(critic_of()(token_BT), critic_of(seed=4)(token_BT))
    based = critic_of(start="base", model=model)
    for name, weight in based.trunk.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
        assert weight.data_ptr() != model.state_dict()[name].data_ptr()
    assert not based.head.bias.any()
    weight = scalar_head(10**5, seed=0).weight.detach()
    assert float(weight.std()) * (10**5 + 1) ** 0.5 == pytest.approx(1.0, rel=0.02)
    assert abs(float(weight.mean())) * 10**2.5 < 0.02


def test_an_output_layer_of_its_own_does_not_train() -> None:
    critic = ScalarDecoder(decoder(tie_embeddings=False), scalar_head(CHANNELS, seed=1))
    idle = [name for name, p in critic.named_parameters() if not p.requires_grad]
    assert idle == ["trunk.model.lm_head.weight"]
    tied = ScalarDecoder(decoder(), scalar_head(CHANNELS, seed=1))
    assert all(p.requires_grad for p in tied.parameters())
