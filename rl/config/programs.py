"""Which settings each program takes: the one list of kinds of runs."""

from typing import Any

from rl.config.advantage_estimates import AdvantageEstimatesConfig
from rl.config.episodes import EpisodesConfig
from rl.config.gradient_covariance import GradientCovarianceConfig
from rl.config.kl_estimators import KLEstimatorsConfig
from rl.config.lecture_sorting import LectureSortingConfig
from rl.config.ppo import PPOConfig
from rl.config.preferences import PreferencesConfig
from rl.config.proximal import ProximalConfig
from rl.config.reward_model import RewardModelConfig
from rl.config.run import ProgramConfig, RunConfig
from rl.config.schema import MISSING, closest, short, validate
from rl.config.surrogate_gradients import SurrogateGradientsConfig
from rl.config.tabular import TabularConfig
from rl.config.tabular_preferences import TabularPreferencesConfig
from rl.config.unseen_action import UnseenActionConfig
from rl.errors import UserError

PROGRAMS: dict[str, type[ProgramConfig]] = {
    "policy": RunConfig,
    "ppo": PPOConfig,
    "preferences": PreferencesConfig,
    "gradient_weight": RunConfig,
    "lecture_sorting": LectureSortingConfig,
    "gradient_covariance": GradientCovarianceConfig,
    "surrogate_gradients": SurrogateGradientsConfig,
    "kl_estimators": KLEstimatorsConfig,
    "advantage_estimates": AdvantageEstimatesConfig,
    "tabular": TabularConfig,
    "proximal": ProximalConfig,
    "tabular_preferences": TabularPreferencesConfig,
    "unseen_action": UnseenActionConfig,
    "episodes": EpisodesConfig,
    "reward_model": RewardModelConfig,
}


def program_config(data: dict[str, Any], source: str) -> ProgramConfig:
    """The settings of one run, by the program that they name; `source` names them in errors.

    Raises:
        UserError: an unknown program, or any fault in its settings.
    """
    program = data.get("program")
    if "program" not in data:
        raise UserError(f"{source}: 1 fault(s)\n  program: {MISSING}")
    if not isinstance(program, str) or program not in PROGRAMS:
        raise UserError(
            f"{source}: 1 fault(s)\n  program: expected the name of a program, got "
            f"{short(program)}; {closest(str(program), list(PROGRAMS))}"
        )
    return validate(PROGRAMS[program], data, source)
