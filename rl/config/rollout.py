"""ROLLOUT: one sampler for all arms of an experiment that have a decoder."""

from collections.abc import Mapping
from typing import get_args

from rl.config.programs import program_config
from rl.config.run import DecoderRunConfig, ProgramConfig
from rl.config.sampling import SamplerName
from rl.config.schema import closest, short
from rl.errors import UserError


def sampled_by(
    sampler: str, arms: Mapping[str, ProgramConfig], experiment: str
) -> dict[str, ProgramConfig]:
    """The same arms with this rollout.sampler, where they have one.

    Raises:
        UserError: no such sampler, or no arm that samples from a decoder.
    """
    known = list(get_args(SamplerName))
    if sampler not in known:
        raise UserError(
            f"ROLLOUT: expected one of {', '.join(known)}, got {short(sampler)}; "
            f"{closest(sampler, known)}"
        )
    if not any(isinstance(config, DecoderRunConfig) for config in arms.values()):
        raise UserError(
            f"ROLLOUT: {experiment} has no arm that samples from a decoder, so that there is "
            "nothing to be sampled in another way; leave it out"
        )
    return {
        name: _with(sampler, config, f"ROLLOUT: arm {name}")
        if isinstance(config, DecoderRunConfig)
        else config
        for name, config in arms.items()
    }


def _with(sampler: str, config: DecoderRunConfig, where: str) -> ProgramConfig:
    data = config.model_dump(mode="json")
    return program_config({**data, "rollout": {**data["rollout"], "sampler": sampler}}, where)
