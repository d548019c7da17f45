"""config.yaml and claims.yaml as strict, frozen objects; every fault is one clear message."""

from rl.config.advantage_estimates import AdvantageEstimatesConfig, StudyCriticConfig
from rl.config.base import BaseConfig, DecoderConfig, OptimConfig, TaskConfig, TextConfig
from rl.config.claims import Claims
from rl.config.experiment import (
    Experiment,
    ProfileName,
    RunSpec,
    config_digest,
    find_experiment,
    load_experiment,
    profiles_of,
)
from rl.config.gradient_covariance import GradientCovarianceConfig
from rl.config.kinds import (
    Claim,
    Contrast,
    ContrastEquivalence,
    Difference,
    Enumeration,
    Equivalence,
    Exact,
    Interaction,
    LogRank,
    McNemar,
    Trend,
    VarianceRatio,
)
from rl.config.kl import KLConfig
from rl.config.kl_estimators import KLEstimatorsConfig
from rl.config.learned import (
    LearnedRewardConfig,
    PairsConfig,
    RewardFitConfig,
    SampledPairsConfig,
)
from rl.config.lecture_sorting import LectureSortingConfig
from rl.config.measure import Band, Measure
from rl.config.overrides import by_path
from rl.config.ppo import CriticConfig, MissingEOSConfig, PPOConfig
from rl.config.preferences import PreferencesConfig, TrainingPairsConfig
from rl.config.programs import PROGRAMS, program_config
from rl.config.proximal import ProximalConfig, TrustRegionConfig
from rl.config.published import ProblemSetConfig, PublishedBaseConfig, PublishedTaskConfig
from rl.config.reward import REWARDS_OF, ClassifierConfig, RewardConfig
from rl.config.reward_model import PublishedPairsConfig, RewardModelConfig
from rl.config.run import (
    BaseModelConfig,
    DecoderRunConfig,
    EngineConfig,
    EvalConfig,
    GradientWeightConfig,
    ProgramConfig,
    RunConfig,
)
from rl.config.sampling import RolloutConfig
from rl.config.schema import parse_overrides, parse_value, validate
from rl.config.surrogate_gradients import (
    StudyTreeConfig,
    SurrogateGradientsConfig,
    SurrogateLossConfig,
)
from rl.config.tabular import ChainConfig, TabularConfig, TreeConfig
from rl.config.tabular_preferences import TabularPreferencesConfig
from rl.config.tuning import GridPoint, TuningConfig, load_tuning
from rl.config.unseen_action import UnseenActionConfig
from rl.config.update import AdvantageConfig, LossConfig

__all__ = [
    "PROGRAMS",
    "REWARDS_OF",
    "AdvantageConfig",
    "AdvantageEstimatesConfig",
    "Band",
    "BaseConfig",
    "BaseModelConfig",
    "ChainConfig",
    "Claim",
    "Claims",
    "ClassifierConfig",
    "Contrast",
    "ContrastEquivalence",
    "CriticConfig",
    "DecoderConfig",
    "DecoderRunConfig",
    "Difference",
    "EngineConfig",
    "Enumeration",
    "Equivalence",
    "EvalConfig",
    "Exact",
    "Experiment",
    "GradientCovarianceConfig",
    "GradientWeightConfig",
    "GridPoint",
    "Interaction",
    "KLConfig",
    "KLEstimatorsConfig",
    "LearnedRewardConfig",
    "LectureSortingConfig",
    "LogRank",
    "LossConfig",
    "McNemar",
    "Measure",
    "MissingEOSConfig",
    "OptimConfig",
    "PPOConfig",
    "PairsConfig",
    "PreferencesConfig",
    "ProblemSetConfig",
    "ProfileName",
    "ProgramConfig",
    "ProximalConfig",
    "PublishedBaseConfig",
    "PublishedPairsConfig",
    "PublishedTaskConfig",
    "RewardConfig",
    "RewardFitConfig",
    "RewardModelConfig",
    "RolloutConfig",
    "RunConfig",
    "RunSpec",
    "SampledPairsConfig",
    "StudyCriticConfig",
    "StudyTreeConfig",
    "SurrogateGradientsConfig",
    "SurrogateLossConfig",
    "TabularConfig",
    "TabularPreferencesConfig",
    "TaskConfig",
    "TextConfig",
    "TrainingPairsConfig",
    "TreeConfig",
    "Trend",
    "TrustRegionConfig",
    "TuningConfig",
    "UnseenActionConfig",
    "VarianceRatio",
    "by_path",
    "config_digest",
    "find_experiment",
    "load_experiment",
    "load_tuning",
    "parse_overrides",
    "parse_value",
    "profiles_of",
    "program_config",
    "validate",
]
