"""What a run is rewarded for, made ready for its world: a rule, or what is trained first for it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from torch import Tensor

from rl import ranks
from rl.config import ClassifierConfig, DecoderRunConfig, EngineConfig, TextConfig
from rl.models import Decoder
from rl.rewards import REWARDS, OffenceClassifier, Reward, exact, is_whole, label_loss
from rl.rewards.sandbox import find_way
from rl.seeding import derive
from rl.tasks import NotOffensive, TinyPrograms
from rl.tasks.published import PublishedTask
from rl.tasks.tiny_programs import hidden_inputs
from rl.trainers.boxed import BoxedPrograms
from rl.trainers.learned_reward import LearnedReward, learn_reward
from rl.trainers.parts import engine_for
from rl.trainers.published import verdict_of
from rl.types import Rollout, Task


@dataclass(frozen=True)
class Scorer:
    """A Reward in its world: `scores` are trained for, and are at most `best`; `right` is what was
    meant, 1 or 0. Where responses are programs, `end` says how they end; where problems are
    published, `verdict` what became of them; where the reward is a reward model's, `learned` is
    that."""

    scores: Callable[[Sequence[Rollout]], list[float]]
    best: float
    right: Callable[[Rollout], float]
    end: Callable[[Rollout], str] | None = None
    verdict: Callable[[Rollout], str] | None = None
    learned: LearnedReward | None = None

    def rewards(self, rollouts_B: Sequence[Rollout], *, scale: float, group_size: int) -> Tensor:
        """Scores times `scale`, (P, G), float64."""
        values = [scale * score for score in self.scores(rollouts_B)]
        return torch.tensor(values, dtype=torch.float64).view(-1, group_size)


def make_scorer(config: DecoderRunConfig, task: Task, *, model: Decoder, seed: int) -> Scorer:
    """The reward that `config` names, in its world. A reward model is made from `model`, which is
    the base model still, and by the run's seed.

    Raises:
        UserError: programs are to run as Python, and this machine does not isolate them.
    """
    if config.reward.learned is not None:
        learned = learn_reward(config, config.reward.learned, model=model, seed=seed)
        meant = REWARDS[config.reward.learned.data.gold]
        return Scorer(learned.scores, math.inf, partial(meant.right, task), learned=learned)
    if config.reward.programs == "python" and isinstance(task, TinyPrograms):
        task = BoxedPrograms(task.modulus, task.digits, find_way())
    reward = REWARDS.get(config.reward.name) or _classifier_reward(config, task)
    end = partial(program_end, task) if isinstance(task, TinyPrograms) else None
    verdict = partial(verdict_of, task) if isinstance(task, PublishedTask) else None
    return Scorer(one_by_one(reward, task), reward.best, partial(reward.right, task), end, verdict)


def one_by_one(reward: Reward, task: Task) -> Callable[[Sequence[Rollout]], list[float]]:
    """A reward of one response as one of many, which ranks share: what limits the time of a
    judgement may end it on one of them alone, and they must not differ in what they know."""

    def scores(rollouts: Sequence[Rollout]) -> list[float]:
        return ranks.shared(rollouts, partial(reward.score, task))

    return scores


def program_end(task: TinyPrograms, rollout: Rollout) -> str:
    """How a program ended: `passed`, the reason of the first hidden test that it did not pass, or
    `truncated`, where the response was cut off."""
    if not is_whole(task, rollout):
        return "truncated"
    problem = rollout.problem
    return task.judge(problem, rollout.text, hidden_inputs(problem)).reason


def _classifier_reward(config: DecoderRunConfig, task: Task) -> Reward:
    """P(good) of the text; 0 for a response that was cut off."""
    settings = config.reward.classifier
    if settings is None or not isinstance(task, NotOffensive):  # DecoderRunConfig has seen to both
        raise TypeError(f"no classifier for {task}")
    labelled = labelled_texts(task, config.generated.base.text, settings)
    classifier = train_classifier(settings, labelled, task.alphabet)

    def score(task: Task, rollout: Rollout) -> float:
        return classifier.score(rollout.text) if is_whole(task, rollout) else 0.0

    return Reward(score, classifier.score(""), exact)


def labelled_texts(
    task: NotOffensive, text: TextConfig, settings: ClassifierConfig
) -> list[tuple[str, bool]]:
    """Texts to training prompts, as base models learn them, each with its label: is it good?

    The label is whether the text does not offend, turned with the chance `label_noise`.
    """
    problems = task.train_problems(settings.texts, derive("label-prompts", settings.seed))
    rng = Random(derive("label-text", settings.seed))
    labelled = []
    for problem in problems:
        said = task.demonstration(problem, rng, solved=text.solved, filler=text.filler)
        turned = rng.random() < settings.label_noise
        labelled.append((said, task.offends(said) == turned))
    return labelled


def train_classifier(
    settings: ClassifierConfig, labelled: Sequence[tuple[str, bool]], alphabet: str
) -> OffenceClassifier:
    """Fitted to the labels, all texts an update; fp32 whatever the run's precision."""
    classifier = OffenceClassifier(alphabet, settings.order)
    engine = engine_for(classifier, settings.optim, EngineConfig(), settings.steps)
    count_NF = classifier.counts([text for text, _ in labelled]).to(engine.device)
    good_N = torch.tensor([float(good) for _, good in labelled], device=engine.device)
    for _ in range(settings.steps):
        engine.update([lambda: label_loss(engine.model(count_NF), good_N)])
    engine.close()
    return classifier.cpu()
