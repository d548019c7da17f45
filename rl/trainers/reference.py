"""The base model kept as it was: what a KL penalty in the reward measures from."""

from copy import deepcopy

from torch import Tensor

from rl.config import RunConfig
from rl.engine import Engine
from rl.kl import kl_penalty
from rl.models import Decoder, FusedDecoder
from rl.trainers.update import response_logps
from rl.types import Batch


class Reference:
    """A frozen copy of a model, made before the engine has taken any step with it."""

    def __init__(self, model: Decoder, config: RunConfig) -> None:
        frozen = deepcopy(model).requires_grad_(False)
        self._model = FusedDecoder(frozen, fuse=not config.engine.compile)
        self._config = config

    def divergence(self, engine: Engine, batch: Batch, micro_tokens: int) -> Tensor:
        """How far the engine's model is from the copy on each response (P, G), nats, float64.

        Both by one forward pass of the trainer, so that it is 0 before the first update. See
        rl.kl.
        """
        self._model.to(engine.device, next(engine.model.parameters()).dtype)
        logp_BT, logp_ref_BT = (
            response_logps(model, batch, self._config, micro_tokens)
            for model in (engine.model, self._model)
        )
        kl_B = kl_penalty(
            logp_BT, logp_ref_BT, batch.response_BT, estimator="k1", level="token"
        ).sum(dim=1)
        return kl_B.double().cpu().view(-1, self._config.rollout.group_size)
