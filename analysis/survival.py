"""Time to an event in two arms whose runs are not paired, some runs ending without it (censored).

At each time t with an event, n runs are at risk (neither ended nor censored before t; one censored
at t is still at risk), n_1 of them of the treatment, and d have the event, d_1 of them of the
treatment. If the arms do not differ, d_1 given the others is hypergeometric (Mantel, 1966):

    E = d n_1 / n        V = d (n_1 / n) (1 - n_1 / n) (n - d) / (n - 1)        V = 0 for n = 1

Sums over the times give O - E (observed less expected) and V. With proportional hazards
h_1 = exp(b) h_0, the log partial likelihood of b has at b = 0 the slope O - E and the curvature -V.
One Newton step from 0 is Peto's estimate of the log hazard ratio, b = (O - E) / V, with standard
error 1 / sqrt(V) (Peto and Peto, 1972; Yusuf, Peto et al., 1985). It is above 0 where the treatment
comes to the event first. b over its error is (O - E) / sqrt(V), the statistic of the log-rank test,
so that interval and test agree.

The normal distribution of that statistic is an approximation, too mild for few runs: five of the
treatment that all come before five of the control give p = .0018, where the 252 ways to deal the
ranks give .0079. And a single step falls short of a ratio far from 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


@dataclass(frozen=True)
class LogRank:
    """What the test knows of two arms: O - E of the treatment, and its variance V.

    V = 0 where no event came while runs of both arms were at risk and one of them outlived it. Then
    O - E is 0 too, and nothing is known: effect 0, p 1, the whole line as interval.
    """

    excess: float
    variance: float

    @property
    def log_hazard_ratio(self) -> float:
        """Peto's one-step estimate, (O - E) / V."""
        return self.excess / self.variance if self.variance else 0.0

    @property
    def p(self) -> float:
        """Two-sided p value of "the hazards are the same"."""
        if not self.variance:
            return 1.0
        return 2 * float(norm.sf(abs(self.excess) / math.sqrt(self.variance)))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Of the log hazard ratio, at coverage 1 - alpha: it misses 0 exactly where p < alpha."""
        half = self._errors(float(norm.isf(alpha / 2)))
        return self.log_hazard_ratio - half, self.log_hazard_ratio + half

    def detectable(self, alpha: float, power: float = 0.8) -> float:
        """The log hazard ratio that the test rejects with chance `power`, given this V.

        (z_{1 - alpha/2} + z_power) / sqrt(V), after Schoenfeld (1981), whose V is a quarter of the
        events in arms of one size. Infinite for V = 0.
        """
        return self._errors(float(norm.isf(alpha / 2) + norm.ppf(power)))

    def _errors(self, number: float) -> float:
        """So many standard errors."""
        return number / math.sqrt(self.variance) if self.variance else math.inf


def log_rank(
    *, time_R: NDArray[np.float64], event_R: NDArray[np.bool_], treated_R: NDArray[np.bool_]
) -> LogRank:
    """O - E and V over the runs R of both arms, as in the module's docstring.

    Args:
        time_R: when the event came, or when the run was censored.
        event_R: did it come?
        treated_R: is the run of the treatment?

    Raises:
        ValueError: shapes that differ, or a time that is not finite.
    """
    if not time_R.shape == event_R.shape == treated_R.shape or time_R.ndim != 1:
        shapes = time_R.shape, event_R.shape, treated_R.shape
        raise ValueError(f"expected one time, event and arm a run, got shapes {shapes}")
    if not np.isfinite(time_R).all():
        raise ValueError(f"expected finite times, got {time_R!r}")
    excess, variance = 0.0, 0.0
    for t in np.unique(time_R[event_R]):
        at_risk_R, now_R = time_R >= t, (time_R == t) & event_R
        n, d = int(at_risk_R.sum()), int(now_R.sum())
        share = int((at_risk_R & treated_R).sum()) / n
        excess += int((now_R & treated_R).sum()) - d * share
        if n > 1:
            variance += d * share * (1 - share) * (n - d) / (n - 1)
    # Without variance O - E is a sum of zeros, but for its rounding.
    return LogRank(excess if variance else 0.0, variance)
