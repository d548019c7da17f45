"""Updates of every kind on batches made here, to be done by one rank and by two."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rl import engine as module
from rl.config import EngineConfig, OptimConfig
from rl.data import EncodedPair
from rl.engine import Engine
from rl.models import ActorCritic, ByteTokenizer, FusedDecoder, ScalarDecoder, scalar_head
from rl.trainers.parts import engine_for, fuses, length_buckets
from rl.trainers.policy import flat
from rl.trainers.ppo_update import update_ppo
from rl.trainers.preference_batches import PairBatch, update_on_pairs
from rl.trainers.reward_members import Member
from rl.trainers.rollouts import collate_ids
from rl.trainers.supervised import supervised_update
from rl.trainers.update import update_policy
from rl.types import Batch
from tests import test_policy_update, test_ppo, test_preferences, test_reward_model
from tests.tiny import OPTIM, decoder, ppo_config, run_config

UPDATES = 3
# With so large an epsilon a step of AdamW is near one along the gradient: a gradient that is off by
# a factor, which AdamW would hide, shows in the weights.
PLAIN = {**OPTIM, "lr": 0.3, "eps": 1.0}
MICRO_TOKENS = 60
Found = dict[str, Any]
# The lengths of responses: as sampled, or one that is far longer than the others.
UNEVEN = [10, *[1] * 11]


def optim(**changes: Any) -> OptimConfig:
    return OptimConfig.model_validate({**PLAIN, **changes}, strict=False)


@contextmanager
def opened(net: nn.Module, stage: int, precision: str = "fp32", **changes: Any) -> Iterator[Engine]:
    """At stage 3 every weight is cut up, however small it is."""
    module.KEPT_WHOLE = 0
    asked = EngineConfig(zero_stage=stage, precision=precision)
    made = engine_for(net, optim(**changes), asked, UPDATES)
    yield made
    made.close()


def weights(engine: Engine) -> Tensor:
    return flat(engine, engine.model).float()


def made_batch(advantages: list[float] | None, lengths: list[int] | None) -> Batch:
    """Of rl.trainers.rollouts; with `lengths` the responses are cut to them."""
    batch = test_policy_update.made_batch(decoder(), advantages)
    if lengths is None:
        return batch
    rows = []
    for token_T, mask_T, length, wanted in zip(
        batch.token_BT, batch.response_BT, batch.length_B.tolist(), lengths, strict=True
    ):
        first = int(mask_T.int().argmax())
        response = (token_T[first:length].tolist() * wanted)[:wanted]
        rows.append((tuple(token_T[:first].tolist()), tuple(response)))
    made = collate_ids(rows, test_policy_update.TOKENS.pad_id)
    return Batch(
        made.token_BT, made.length_B, made.response_BT, made.logp_sampler_BT, batch.advantage_B
    )


def policy(
    changes: dict[str, Any],
    *,
    stage: int,
    precision: str = "fp32",
    advantages: list[float] | None = None,
    lengths: list[int] | None = None,
    micro_tokens: int = MICRO_TOKENS,
    grad_clip: float = 0.0,
) -> Found:
    """Weights and metrics after each of three steps on one batch, which leaves the policy that
    sampled it behind."""
    batch = made_batch(advantages, lengths)
    config = run_config({"loss.old_logps": "sampler", **changes})
    asked = EngineConfig(zero_stage=stage, precision=precision)
    steps = []
    net = FusedDecoder(decoder(), fuse=fuses(asked))
    with opened(net, stage, precision, grad_clip=grad_clip) as engine:
        for step in range(UPDATES):
            said = update_policy(
                engine, batch, config, micro_tokens=micro_tokens, seed=3, step=step
            )
            steps.append((weights(engine), said))
    return {"steps": steps, "parts": len(length_buckets(batch.length_B, micro_tokens))}


def ppo(kind: str, changes: dict[str, Any], *, stage: int) -> Found:
    """The same of policy and critic."""
    config = ppo_config({"loss.value_clip": 0.2, "loss.entropy": 0.01, **changes})
    model, batch = decoder(), made_batch(None, None)
    head = scalar_head(test_ppo.CHANNELS, seed=1)
    critic = head if kind == "head" else ScalarDecoder(decoder(seed=5), head, fuse=stage < 3)
    net = ActorCritic(model, critic, fuse=stage < 3)
    steps = []
    with opened(net, stage) as engine:
        found = test_ppo.drawn(engine, batch, config, batch.advantage_B)
        for step in range(UPDATES):
            said = update_ppo(engine, found, config, micro_tokens=MICRO_TOKENS, seed=3, step=step)
            steps.append((weights(engine), said))
    return {"steps": steps}


def preferences(method: str, *, stage: int) -> Found:
    """Of seven pairs: micro-batches of several."""
    config = test_preferences.config(test_preferences.OFFLINE[method])
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(14):
        size = 1 + int(torch.randint(1, 6, (), generator=generator))
        response = torch.randint(0, 6, (size,), generator=generator)
        rows.append(((1, 2 + i % 7 % 3), tuple(response.tolist())))
    batch = collate_ids(rows, 0)
    pairs = PairBatch(batch, -torch.rand(14, generator=generator) * 9)
    steps = []
    net = FusedDecoder(test_preferences.base(), fuse=stage < 3)
    with opened(net, stage) as engine:
        for _ in range(UPDATES):
            update, said, _ = update_on_pairs(engine, pairs, config, 40)
            told = {"loss": update.loss, "norm": update.grad_norm, **said}
            steps.append((weights(engine), told))
    return {"steps": steps}


def supervised(*, stage: int) -> Found:
    """Of five texts of uneven length."""
    texts = [((1, 2), tuple(i % 5 for i in range(n))) for n in (1, 6, 2, 9, 3)]
    steps = []
    with opened(FusedDecoder(decoder(), fuse=stage < 3), stage) as engine:
        for _ in range(UPDATES):
            loss = supervised_update(engine, texts, 12, 0)
            steps.append((weights(engine), {"loss": loss}))
    return {"steps": steps}


def reward_model(loss: str, *, stage: int) -> Found:
    """Of pairs of texts in bytes; with the scores of all of them after the last update."""
    settings = {
        **test_reward_model.RUN_PUBLISHED,
        "loss": loss,
        "optim": PLAIN,
        "batch_pairs": 5,
        "engine": {"zero_stage": stage, "micro_batch_tokens": 50},
    }
    config = test_reward_model.config(settings)
    reader = ByteTokenizer()
    pairs = [
        EncodedPair(
            reader.encode("ab" * n), reader.encode("c" * (9 - n)), reader.encode("d" * n), n
        )
        for n in range(1, 8)
    ]
    member = Member(config, start=None, reader=reader, number=0, seed=0)
    steps = []
    for step in range(UPDATES):
        update = member.update(step, pairs)
        steps.append((weights(member.engine), {"loss": update.loss, "norm": update.grad_norm}))
    scores = member.scores([pair.prompt_ids + pair.chosen_ids for pair in pairs])
    member.engine.close()
    return {"steps": steps, "scores": scores}


def not_finite(*, stage: int) -> str:
    """What is said where one micro-batch of three has no finite gradient."""
    net = nn.Linear(3, 1)
    with opened(net, stage) as engine:
        parts = [
            lambda scale=scale: engine.model(torch.ones(2, 3)).sum() * scale
            for scale in (1.0, float("nan"), 1.0)
        ]
        try:
            engine.update(parts)
        except FloatingPointError as error:
            return str(error)
    return "nothing"
