"""claims.yaml: what is claimed, on which metric and arms, by which test, fixed before the run."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from rl.config.kinds import AnyClaim
from rl.config.schema import Strict, closest
from rl.errors import UserError
from rl.metrics import METRICS


class Claims(Strict):
    """claims.yaml as written. `alpha` is the family-wise level over all claims (Holm)."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    claims: Annotated[tuple[AnyClaim, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ids = [claim.id for claim in self.claims]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"claim ids stand twice: {', '.join(twice)}")
        return self

    def digests(self) -> dict[str, str]:
        """A short content hash a claim, alpha included; it tells which claims were changed."""
        return {
            claim.id: hashlib.sha256(
                f"{self.alpha} {claim.model_dump_json()}".encode()
            ).hexdigest()[:16]
            for claim in self.claims
        }

    def check_against(self, programs: Mapping[str, str], arms: set[str], source: str) -> None:
        """Every claim's arms exist and log its metrics.

        Args:
            programs: program of each arm of the profile.
            arms: every arm of the experiment; a profile may leave some out.

        Raises:
            UserError: an unknown arm, or a metric that the arm's program never logs.
        """
        for claim in self.claims:
            for arm in claim.arms():
                if arm not in arms:
                    raise UserError(
                        f"{source}: claim {claim.id}: no arm {arm!r}; {closest(arm, sorted(arms))}"
                    )
                for name in claim.metrics():
                    program = programs.get(arm)
                    if program is not None and program not in METRICS[name].programs:
                        raise UserError(
                            f"{source}: claim {claim.id}: arm {arm!r} runs program {program!r}, "
                            f"which never logs {name!r} (logged by "
                            f"{' and '.join(map(repr, METRICS[name].programs))})"
                        )
