"""Settings of program `ppo`: a decoder under proximal policy optimisation, with a critic."""

from typing import Literal, Self

from pydantic import model_validator

from rl.config.base import OptimConfig
from rl.config.run import DecoderRunConfig
from rl.config.scalars import Fraction, NonNegative, PositiveFloat, PositiveInt
from rl.config.schema import Strict
from rl.config.update import BatchLossConfig


class MissingEOSConfig(Strict):
    """What becomes of the score of a response that did not stop by itself (rl.token_rewards).

    `replace`: `value` stands for it (2403.17031: -1); `subtract`: `value` is taken off it, so that
    such responses are still told apart. `keep`: nothing, and `value` is 0.
    """

    method: Literal["keep", "replace", "subtract"]
    value: float

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.method == "keep" and self.value:
            raise ValueError(
                f"missing_eos.value: nothing is made of it; expected 0 with method keep, got "
                f"{self.value}"
            )
        if self.method == "subtract" and not self.value > 0:
            raise ValueError(
                f"missing_eos.value: what is taken off the score; expected a number over 0 with "
                f"method subtract, got {self.value}"
            )
        return self


class GAEConfig(Strict):
    """Advantages by rl.gae: `discount` gamma and `trace` lambda, a token.

    With `bootstrap` the value of the state after it follows a response that was cut off, else 0 as
    after one that ended. `whiten` (rl.whitening) is over the response tokens of the whole batch,
    or of each minibatch for itself; `ddof`, `eps` (added to the variance) and `shift_mean` are its
    own, and mean nothing without it. Targets of the values are never whitened.
    """

    discount: Fraction
    trace: Fraction
    bootstrap: bool
    whiten: Literal["none", "batch", "minibatch"]
    ddof: Literal[0, 1]
    eps: NonNegative
    shift_mean: bool


class PPOLossConfig(BatchLossConfig):
    """loss = policy loss + `value` * value loss - `entropy` * entropy of the policy at each token.

    All three go through `aggregate`, with the same denominator. The value loss carries its half
    (rl.losses.value); `value_clip` is its range in units of the reward, null for none. The old
    policy's log-probs are the trainer's own, of a forward pass before the first update.
    """

    value: NonNegative
    value_clip: PositiveFloat | None
    entropy: NonNegative


class CriticPretrainConfig(Strict):
    """`updates` on the plain value loss, before the first step, each on a fresh batch of the base
    model's own responses and their Monte-Carlo returns (2503.01491: value pretraining). An
    optimiser of its own, of the critic alone."""

    updates: PositiveInt
    optim: OptimConfig


class CriticConfig(Strict):
    """Who says what a state is worth.

    `head`: a scalar head on the policy's own trunk, which value loss and policy loss then share.
    `separate`: a decoder of the policy's sizes with a scalar head, and no weight in common.

    `start` is what the separate one's weights are at first: `random`; `base`, the base model's
    trunk under a random head; `reward_model`, that of the run's learned reward with its own head,
    centred, and of scores without reward.scale. A random head is normal with std
    1 / sqrt(hidden_size + 1), its bias 0.
    """

    kind: Literal["head", "separate"]
    start: Literal["random", "base", "reward_model"]
    pretrain: CriticPretrainConfig | None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.kind == "head" and (self.start != "random" or self.pretrain is not None):
            raise ValueError(
                "critic: a head on the policy's trunk has nothing else of its own; expected start "
                f"random and no pretrain with kind head, got {self.start} and "
                f"{'a pretrain' if self.pretrain else 'none'}"
            )
        return self


class PPOConfig(DecoderRunConfig):
    """One run: every step a batch of rollouts, judged by the critic, and `loss.epochs` times
    `loss.minibatches` updates of policy and critic together.

    The reward stands on the last token of a response; `reward.kl` times
    log pi(o_t) - log pi_base(o_t), of the policy before the update, is taken off every token's.
    """

    program: Literal["ppo"]
    missing_eos: MissingEOSConfig
    advantage: GAEConfig
    critic: CriticConfig
    loss: PPOLossConfig

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.check_minibatches(self.loss.minibatches)
        learned = self.reward.learned
        if self.critic.start == "reward_model" and (learned is None or learned.scratch is not None):
            raise ValueError(
                "critic.start: reward_model is a model of the policy's sizes and tokens; expected "
                "reward.name learned with reward.learned.scratch null"
            )
        rows = self.rollout.prompts * self.rollout.group_size
        rows //= self.loss.minibatches if self.advantage.whiten == "minibatch" else 1
        if self.advantage.whiten != "none" and rows == 1:
            raise ValueError(
                "advantage.whiten: one response may be one token, which has no spread; expected 2 "
                "or more responses to whiten over, got 1"
            )
        return self
