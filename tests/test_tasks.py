"""Chained sums: their text, their split, and a verifier that lets only right responses pass."""

import math
from collections import Counter
from itertools import product
from random import Random

import pytest
from hypothesis import given, strategies as st

from rl.errors import UserError
from rl.models import Tokenizer
from rl.rewards import REWARDS
from rl.tasks import ChainSum
from rl.tasks.world import is_heldout
from rl.types import Completion, Problem, Rollout

TASK = ChainSum(modulus=5, digits=(2, 3, 4, 5, 6))
PROBLEM = Problem(id=0, prompt="314=", answer="3", difficulty=3)
WORKED = "331443#3"  # by hand: 3 -> 3, 3 + 1 -> 4, 4 + 4 = 8 -> 3 modulo 5


def problem(prompt: str, modulus: int = 5) -> Problem:
    answer = str(sum(int(digit) for digit in prompt[:-1]) % modulus)
    return Problem(id=0, prompt=prompt, answer=answer, difficulty=len(prompt) - 1)


def text_of(prompt: str, seed: int, *, solved: float, filler: float = 0.0) -> str:
    share = {str(len(prompt) - 1): solved}
    return TASK.demonstration(problem(prompt), Random(seed), solved=share, filler=filler)


def reward(name: str, text: str, *, reason: str = "stop") -> float:
    completion = Completion((0,), (0.0,), "stop" if reason == "stop" else "length")
    return REWARDS[name].score(TASK, Rollout(PROBLEM, 0, (0,), completion, text))


def test_worked_solution_by_hand() -> None:
    assert text_of("314=", 0, solved=1.0) == WORKED
    assert text_of("40312=", 0, solved=1.0) == "4404321320#0"  # 4, 4, 7-5=2, 3, 5-5=0
    assert TASK.check(PROBLEM, WORKED, every_step=True)


def test_alphabet_covers_every_text() -> None:
    assert TASK.alphabet == "01234=#."
    for p in TASK.train_problems(50, seed=3):
        text = text_of(p.prompt, p.id, solved=0.5, filler=0.4)
        assert set(p.prompt + text) <= set(TASK.alphabet)


@given(
    digits=st.text("01234", min_size=2, max_size=6),
    seed=st.integers(0, 10**6),
    filler=st.floats(0, 0.8),
)
def test_text_is_right_at_share_one_and_wrong_at_share_zero(
    digits: str, seed: int, filler: float
) -> None:
    p = problem(f"{digits}=")
    right = text_of(p.prompt, seed, solved=1.0, filler=filler)
    wrong = text_of(p.prompt, seed, solved=0.0, filler=filler)
    assert TASK.check(p, right, every_step=True)
    assert TASK.check(p, right, every_step=False)
    assert not TASK.check(p, wrong, every_step=True)


@pytest.mark.parametrize(("digits", "share"), [(2, 0.6), (4, 0.75), (6, 0.25)])
def test_slip_leaves_the_stated_share_of_right_texts(digits: int, share: float) -> None:
    """Four standard errors of the binomial; without the 1/n in the exponent 0.6 becomes 0.36."""
    p, rng, count = problem("4132413"[:digits] + "="), Random(11), 4000
    right = sum(
        TASK.check(
            p, TASK.demonstration(p, rng, solved={str(digits): share}, filler=0), every_step=True
        )
        for _ in range(count)
    )
    assert abs(right / count - share) < 4 * math.sqrt(share * (1 - share) / count)


def test_wrong_steps_are_uniform_and_the_chain_goes_on_from_them() -> None:
    firsts: Counter[str] = Counter()
    for seed in range(800):
        text = text_of("11=", seed, solved=0.0)  # both steps wrong
        first, second = int(text[1]), int(text[3])
        assert text == f"1{first}1{second}#{second}"
        assert second != (first + 1) % 5
        firsts[text[1]] += 1
    assert set(firsts) == {"0", "2", "3", "4"}
    assert all(abs(n - 200) < 4 * math.sqrt(800 * 0.25 * 0.75) for n in firsts.values())


def test_filler_is_geometric() -> None:
    """Before each of the 4 parts q / (1 - q) fillers are expected, with variance q / (1 - q)^2."""
    q, count = 0.4, 1000
    fillers = sum(text_of("314=", seed, solved=1.0, filler=q).count(".") for seed in range(count))
    spread = math.sqrt(4 * count * q) / (1 - q)
    assert abs(fillers - 4 * count * q / (1 - q)) < 4 * spread


def test_held_out_split_is_fixed_by_the_text() -> None:
    """Literal prompts: the same split in every process, on every machine, for every seed."""
    two = [a + b + "=" for a, b in product("01234", repeat=2)]
    assert [p for p in two if is_heldout(p)] == ["03=", "21=", "23=", "24=", "41="]
    found = [TASK.heldout_problems(100, seed) for seed in (0, 1)]
    assert [p.prompt for p in found[0]] != [p.prompt for p in found[1]]  # drawn and ordered by seed
    for problems in found:
        small = {p.prompt for p in problems if p.difficulty == 2}
        assert small == {"03=", "21=", "23=", "24=", "41="}
    assert TASK.heldout_problems(100, 0) == found[0]


def test_one_prompt_in_five_is_held_out() -> None:
    prompts = ["".join(digits) + "=" for digits in product("01234", repeat=6)]
    share = sum(map(is_heldout, prompts)) / len(prompts)
    assert abs(share - 52 / 256) < 4 * math.sqrt(0.2 * 0.8 / len(prompts))


def test_training_and_held_out_prompts_are_disjoint_and_held_out_ones_distinct() -> None:
    train = {p.prompt for seed in range(5) for p in TASK.train_problems(400, seed)}
    heldout = [p.prompt for p in TASK.heldout_problems(40, seed=7)]
    assert not train & set(heldout)
    assert len(heldout) == len(set(heldout))
    counts = Counter(len(prompt) - 1 for prompt in heldout)
    assert counts == {2: 5, 3: 22, 4: 40, 5: 40, 6: 40}  # all there are of the short ones


def test_problems_carry_their_place_answer_and_difficulty() -> None:
    for problems in (TASK.train_problems(60, seed=1), TASK.heldout_problems(6, seed=1)):
        assert [p.id for p in problems] == list(range(len(problems)))
        for p in problems:
            assert p == Problem(p.id, p.prompt, problem(p.prompt).answer, len(p.prompt) - 1)
    assert TASK.train_problems(60, seed=1) == TASK.train_problems(60, seed=1)
    assert TASK.train_problems(60, seed=1) != TASK.train_problems(60, seed=2)


def test_difficulties_are_uniform() -> None:
    counts = Counter(p.difficulty for p in TASK.train_problems(2000, seed=5))
    assert set(counts) == set(TASK.difficulties)
    assert all(abs(n - 400) < 4 * math.sqrt(2000 * 0.2 * 0.8) for n in counts.values())
    assert ChainSum(modulus=5, digits=(4, 2)).difficulties == (2, 4)


def test_empty_held_out_set_is_one_clear_error() -> None:
    with pytest.raises(UserError) as caught:
        ChainSum(modulus=2, digits=(2, 3)).heldout_problems(4, seed=0)
    message = str(caught.value)
    assert "2 digits modulo 2 is empty" in message
    assert "raise task.modulus" in message
    assert "\n" not in message


def test_answer_reward_forgives_steps_and_solution_reward_does_not() -> None:
    slipped = "341443#3"  # the first running sum is wrong, the answer right
    assert [reward(name, WORKED) for name in ("answer", "solution")] == [1.0, 1.0]
    assert [reward(name, slipped) for name in ("answer", "solution")] == [1.0, 0.0]
    assert [reward(name, "331443#4") for name in ("answer", "solution")] == [0.0, 0.0]


def test_filler_is_ignored_anywhere() -> None:
    for text in (f"...{WORKED}", "33.14..43.#3", f"{WORKED}.", ".3.3.1.4.4.3.#.3."):
        assert [reward(name, text) for name in ("answer", "solution")] == [1.0, 1.0], text


@pytest.mark.parametrize("name", ["answer", "solution"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "#",
        "3",
        "#33",
        "#3#3",
        "331443#3#3",
        "331443##3",
        "331443#",
        "331443#3=",
        "331443#33",
        "331443#03",
        "331443#3331443",
        "331443#3\n",
        "331443#3 ",
        "331443#3<eos>",
        "<pad>331443#3",
        "331443<unk>#3",
        "3<pad>31443#3",
        "331443#\u0663",  # a 3 in another script
        "331443.*#3",
    ],
)
def test_adversarial_responses_are_wrong(name: str, text: str) -> None:
    assert reward(name, text) == 0.0


@pytest.mark.parametrize("name", ["answer", "solution"])
def test_special_tokens_survive_decoding_and_are_wrong(name: str) -> None:
    tokenizer = Tokenizer(TASK.alphabet)
    ids = tokenizer.encode(WORKED)
    assert reward(name, tokenizer.decode((*ids, tokenizer.eos_id))) == 1.0
    for special in (tokenizer.pad_id, tokenizer.eos_id, tokenizer.pad_id + 2):
        for place in range(len(ids) + 1):
            spoilt = (*ids[:place], special, *ids[place:], tokenizer.eos_id)
            assert reward(name, tokenizer.decode(spoilt)) == 0.0


@pytest.mark.parametrize("name", ["answer", "solution"])
def test_truncated_response_is_wrong(name: str) -> None:
    assert reward(name, WORKED, reason="length") == 0.0


@given(text=st.text("01234=#.<", max_size=12))
def test_only_texts_with_the_right_answer_at_the_end_pass(text: str) -> None:
    bare = text.replace(".", "")
    passes = bare.endswith("#3") and bare.count("#") == 1 and "<" not in bare
    assert reward("answer", text) == float(passes)
    assert reward("solution", text) == float(bare == WORKED)
