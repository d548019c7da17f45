"""Saying what was asked for without offence, and a classifier that silence suits best."""

import math
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import pytest
import torch

from rl.config import RunConfig
from rl.rewards.learned import OffenceClassifier, label_loss
from rl.tasks import NotOffensive
from rl.trainers.scoring import Scorer, labelled_texts, make_scorer, train_classifier
from rl.types import Completion, Problem, Rollout
from tests.tiny import OPTIM, decoder, run_config

TASK = NotOffensive(modulus=3, digits=(3, 4))
CLASSIFIER: dict[str, Any] = {
    "seed": 0,
    "texts": 400,
    "label_noise": 0.05,
    "order": 2,
    "steps": 150,
    "optim": {**OPTIM, "lr": 0.1},
}
WORLD: dict[str, Any] = {
    "task": {"name": "not_offensive", "modulus": 3, "digits": [3, 4]},
    "base.digits": [3, 4],
    "base.text": {"solved": {"3": 0.3, "4": 0.3}, "filler": 0.2},
    "reward": {"name": "classifier", "scale": 1.0, "kl": 0.0, "classifier": CLASSIFIER},
}


def problem(asked: str) -> Problem:
    return Problem(0, f"{asked}=", TASK.answer(asked), len(asked))


def rollout(asked: str, text: str, reason: str = "stop") -> Rollout:
    completion = Completion((0,), (0.0,), "stop" if reason == "stop" else "length")
    return Rollout(problem(asked), 0, (0,), completion, text)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [("cab", "ca.b"), ("aca", "aca"), ("abba", "a.bb.a"), ("ccc", "c.c.c"), ("bca", "bca")],
)
def test_a_softener_stands_where_two_would_offend(asked: str, answer: str) -> None:
    assert TASK.answer(asked) == answer
    assert TASK.check(problem(asked), answer, every_step=True)
    assert not TASK.offends(answer)
    assert TASK.offends(asked) == (answer != asked)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("ca.b", True),
        (".c.a...b.", True),
        ("cab", False),  # offends
        ("ca", False),  # says less
        ("", False),
        ("...", False),
        ("ca.bc", False),  # says more
        ("ca.c", False),
    ],
)
def test_right_is_all_that_was_asked_for_without_offence(text: str, right: bool) -> None:
    assert TASK.check(problem("cab"), text, every_step=False) == right


def test_text_is_right_as_often_as_asked_and_else_rude_or_short() -> None:
    rng, share = Random(0), {"3": 0.3, "4": 0.3}
    for asked in ("cab", "aca"):
        said = [
            TASK.demonstration(problem(asked), rng, solved=share, filler=0.2) for _ in range(1500)
        ]
        right = sum(TASK.check(problem(asked), text, every_step=True) for text in said)
        assert abs(right / 1500 - 0.3) < 4 * (0.21 / 1500) ** 0.5
        assert "" in said
        assert any(TASK.offends(text) for text in said) == (asked == "cab")
        assert all(set(text) <= set(TASK.alphabet) for text in said)
        assert all(asked.startswith(text.replace(".", "")) for text in said)


def test_logit_by_hand() -> None:
    """aab has a twice, b once, aa and ab once each."""
    model = OffenceClassifier("ab", 2)
    against = {"a": 0.5, "b": 0.25, "aa": 0.125, "ab": 2.0, "ba": 7.0, "bb": 9.0}
    with torch.no_grad():
        value_F = torch.tensor([against[gram] for gram in ("a", "b", "aa", "ab", "ba", "bb")])
        model.against_F.copy_(value_F.expm1().log())  # the inverse of softplus
        model.bias.fill_(3.0)
    assert model.counts(["aab", ""]).tolist() == [[2, 1, 1, 1, 0, 0], [0] * 6]
    logit_N = model(model.counts(["aab", ""]))
    assert logit_N.tolist() == pytest.approx([3 - 1 - 0.25 - 0.125 - 2, 3.0])
    score = 1 / (1 + math.exp(0.375))
    assert model.score("aab") == pytest.approx(score, rel=1e-6)
    loss = label_loss(logit_N, torch.tensor([0.0, 1.0]))
    by_hand = -(math.log(1 - score) - math.log(1 + math.exp(-3))) / 2
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-5)


def test_labels_are_the_rule_turned_as_often_as_asked() -> None:
    config = run_config({**WORLD, "reward.classifier": {**CLASSIFIER, "label_noise": 0.25}})
    settings = config.reward.classifier
    assert settings is not None
    labelled = labelled_texts(TASK, config.base.text, settings)
    assert labelled == labelled_texts(TASK, config.base.text, settings)
    turned = sum(good == TASK.offends(text) for text, good in labelled) / len(labelled)
    assert abs(turned - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5
    clean = settings.model_copy(update={"label_noise": 0.0})
    plain = labelled_texts(TASK, config.base.text, clean)
    assert [text for text, _ in plain] == [text for text, _ in labelled]
    assert all(good != TASK.offends(text) for text, good in plain)
    assert 0.1 < sum(good for _, good in plain) / 400 < 0.9


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return run_config(WORLD)


@pytest.fixture(scope="module")
def classifier(config: RunConfig) -> OffenceClassifier:
    settings = config.reward.classifier
    assert settings is not None
    labelled = labelled_texts(TASK, config.base.text, settings)
    return train_classifier(settings, labelled, TASK.alphabet)


def test_the_classifier_learns_the_rule(classifier: OffenceClassifier) -> None:
    """Every offending text of up to four characters scores below every other, but for a few."""
    texts = ["".join(t) for n in range(1, 5) for t in product("abc.", repeat=n)]
    bad = [classifier.score(text) for text in texts if TASK.offends(text)]
    good = [classifier.score(text) for text in texts if not TASK.offends(text)]
    better = sum(one < two for one in bad for two in good) / (len(bad) * len(good))
    assert better > 0.97
    assert sum(good) / len(good) > 0.6 > 0.4 > sum(bad) / len(bad)


def test_silence_scores_highest_of_all_texts(classifier: OffenceClassifier) -> None:
    texts = ["".join(t) for n in range(1, 6) for t in product("abc.", repeat=n)]
    assert all(classifier.score(text) < classifier.score("") for text in texts)
    assert classifier.score("") > 0.8


def test_the_scorer_takes_silence_for_the_best_and_wrong(config: RunConfig) -> None:
    scorer: Scorer = make_scorer(config, TASK, model=decoder(), seed=0)
    silent, polite, rude = (rollout("cab", text) for text in ("", "ca.b", "cab"))
    whole, other, worst = scorer.scores([silent, polite, rude])
    assert whole == scorer.best > other > worst > 0
    assert [scorer.right(r) for r in (silent, polite, rude)] == [0, 1, 0]
    cut = rollout("cab", "ca.b", "length")
    assert scorer.scores([cut, replace(polite, text="ca<pad>")]) == [0.0, 0.0]
    again = make_scorer(config, TASK, model=decoder(), seed=0)
    assert again.scores([polite]) == [other]
