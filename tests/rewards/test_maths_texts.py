"""References out of solutions, answers out of responses: by hand, and in linear time."""

import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from rl.errors import UserError
from rl.rewards.maths import Verdict, reference_answer, stated_answer

FIXTURES = Path(__file__).parent.parent / "fixtures" / "maths"
MEGA = 10**6


@pytest.mark.parametrize(
    ("dataset", "solution", "answer"),
    [
        ("gsm8k", "1+1=<<1+1=2>>2\n#### 2", "2"),
        ("gsm8k", "#### 1,234 ", "1,234"),
        ("gsm8k", "#### -5\n", "-5"),
        ("gsm8k", "#### 1\nno\n#### 2", "2"),
        ("math", r"It is $\boxed{5}$.", "5"),
        ("math", r"$\boxed{1}$, no: $\boxed{ \frac{1}{2} }$.", r"\frac{1}{2}"),
        ("math", r"\fbox{\{1,2\}}", r"\{1,2\}"),
        ("math", r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        ("math", r"\boxed {\text{a}}", r"\text{a}"),
        ("math", r"It is $\boxed 9$.", "9"),
        ("math", r"$\boxed\frac12$", r"\frac12"),
        ("math", r"\boxed{\boxed{7}}", "7"),
        ("math", r"\boxed{3} \boxedwidth{4}", "3"),
        (
            "math",
            r"\boxed{\begin{matrix} 1 \\ 2 \end{matrix}}",
            r"\begin{matrix} 1 \\ 2 \end{matrix}",
        ),
    ],
)
def test_references_by_hand(dataset: str, solution: str, answer: str) -> None:
    assert reference_answer(solution, dataset=dataset) == answer


@pytest.mark.parametrize(
    ("dataset", "solution", "told"),
    [
        ("gsm8k", "The answer is 5.", "gsm8k: expected a solution with a line `#### answer`"),
        ("gsm8k", "#### \n5", "gsm8k: expected"),
        ("math", "The answer is 5.", r"math: expected a solution with a \\boxed"),
        ("math", r"\boxed{}", "math: expected"),
        ("math", r"\boxed{1", "math: expected"),
        ("math", "", "got ''; correct or drop"),
        ("hh", r"\boxed{1}", "dataset: expected one of gsm8k, math, got 'hh'"),
    ],
)
def test_a_solution_without_reference_is_an_error(dataset: str, solution: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        reference_answer(solution, dataset=dataset)


THOUGHT = "<think>so</think> "


@pytest.mark.parametrize(
    ("form", "response", "answer"),
    [
        ("boxed", r"so \boxed{5}, or \boxed{6}", "6"),
        ("boxed", r"\boxed{}", ""),
        ("boxed", r"\boxed{ }", ""),
        ("boxed", "5", None),
        ("boxed", "", None),
        ("boxed", r"\boxed", ""),
        ("boxed", r"\boxed{5} and \boxed{6", None),
        ("boxed", r"\boxed{5}}}", "5"),
        ("boxed", r"\boxed{3 \text{ or } \boxed{5}}", "5"),
        ("boxed", r"\boxed 5 is it", "5"),
        ("boxed", r"\boxed{5\}", None),
        ("r1_zero", THOUGHT + "<answer> 5 </answer>", "5"),
        ("r1_zero", THOUGHT + r"<answer>It is $\boxed{5}$.</answer>", "5"),
        ("r1_zero", THOUGHT + r"<answer>\boxed{5</answer>", None),
        ("r1_zero", THOUGHT + "<answer>5</answer> <answer>6</answer>", "6"),
        ("r1_zero", THOUGHT + "<answer>5", None),
        ("r1_zero", THOUGHT + "5", None),
        ("r1_zero", "<answer>5</answer>", None),
        ("r1_zero", "<think><answer>5</answer></think>", None),
        ("r1_zero", "<answer>5</answer></think><answer>6</answer>", "6"),
        ("r1_zero", r"\boxed{5}", None),
    ],
)
def test_answers_by_hand(form: str, response: str, answer: str | None) -> None:
    assert stated_answer(response, form=form) == answer


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(UserError, match=r"form: expected one of boxed, r1_zero, got 'box'"):
        stated_answer("5", form="box")


@pytest.mark.parametrize(
    "make",
    [
        lambda: "{" * MEGA,
        lambda: "\\boxed{" + "{" * MEGA,
        lambda: "\\boxed{" * (MEGA // 7),
        lambda: "\\boxed{5}" * (MEGA // 9),
        lambda: "1" * MEGA,
        lambda: "1," * (MEGA // 2),
        lambda: "111," * (MEGA // 4),
        lambda: "#" * MEGA,
        lambda: "<answer>" * (MEGA // 8),
        lambda: "</think><answer>" * (MEGA // 15),
        lambda: "\\" * MEGA,
        lambda: " " * MEGA,
        lambda: "-$" * (MEGA // 2),
    ],
)
def test_a_megabyte_takes_linear_time(make: Callable[[], str]) -> None:
    text = make()
    before = time.process_time()
    for form in ("boxed", "r1_zero"):
        stated_answer(text, form=form)
    assert time.process_time() - before < 5.0


def test_verdicts_are_worth_one_or_nothing() -> None:
    assert [verdict.reward for verdict in Verdict] == [1.0] + [0.0] * 6
    assert Verdict("right") is Verdict.RIGHT


def test_the_fixtures_are_as_the_data_sets() -> None:
    for name, keys in (
        ("gsm8k", {"question", "answer"}),
        ("math", {"problem", "level", "type", "solution"}),
    ):
        rows = [
            json.loads(line)
            for part in ("train", "test")
            for line in (FIXTURES / f"{name}_{part}.jsonl").read_text("utf-8").splitlines()
        ]
        assert 20 <= len(rows) <= 30
        assert all(set(row) == keys for row in rows)
        for row in rows:
            if name == "math":
                assert row["level"] in [f"Level {level}" for level in range(1, 6)]
                continue
            for step in row["answer"].split("<<")[1:]:
                formula, _, rest = step.partition("=")
                told, _, text = rest.partition(">>")
                assert text.replace(",", "").startswith(told)
                exact = Fraction(told)
                assert abs(eval(formula) - exact) < 1e-9, formula  # noqa: S307 - written here
