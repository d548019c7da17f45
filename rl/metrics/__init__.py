"""Every metric that is logged, in one place: its name, who logs it, what it means, its unit.

A metric with `level` is logged once a level (difficulty = digits in the prompt; duplicates = 1 for
prompts with a digit twice, else 0). Writers refuse a name that is not here, and a claim can be made
only on a name that its arms' program logs, or on a fact of a whole run (rl.metrics.run).
"""

from rl.metrics.advantage_estimates import ADVANTAGE_ESTIMATES
from rl.metrics.closeness import CLOSENESS
from rl.metrics.episodes import EPISODES
from rl.metrics.lecture import LECTURE
from rl.metrics.metric import Metric
from rl.metrics.pairs import PAIRS
from rl.metrics.policy import POLICY
from rl.metrics.ppo import PPO
from rl.metrics.preferences import PREFERENCES
from rl.metrics.proximal import PROXIMAL
from rl.metrics.reward_model import REWARD_MODEL
from rl.metrics.run import RUN
from rl.metrics.tabular import TABULAR

__all__ = ["METRICS", "RUN", "Metric"]

METRICS: dict[str, Metric] = {
    **POLICY,
    **PPO,
    **LECTURE,
    **TABULAR,
    **PROXIMAL,
    **PREFERENCES,
    **CLOSENESS,
    **ADVANTAGE_ESTIMATES,
    **EPISODES,
    **REWARD_MODEL,
    **RUN,
    **PAIRS,
}
