"""Synthetic preferences: their exact chances, their coverage, their seeds."""

import math

import pytest
import torch

from rl.data import (
    Labelling,
    best_share,
    covered_chances,
    draw_labels,
    first_chances,
    is_covered,
    listed_preferences,
    share_against_gold,
    synthetic_preferences,
)
from rl.seeding import uniforms

M = 6000
PI = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
GOLD = torch.tensor([[0.0, 1.0, 2.0, 0.5]], dtype=torch.float64)
HARD = Labelling(scale=math.inf, flip=0.0)
TEXTS = ("a", "bb", "ccc", "dddd")


def within(count: float, of: int, chance: float) -> bool:
    """Four standard errors of the binomial; a chance of 0 or 1 leaves no room."""
    return abs(count / of - chance) <= 4 * math.sqrt(chance * (1 - chance) / of)


def listed(labelling=HARD, seed=3, count=M, chance_PN=PI):
    prompt_M = torch.zeros(count, dtype=torch.int64)
    return listed_preferences(
        prompt_M, chance_PN=chance_PN, gold_PN=GOLD, labelling=labelling, seed=seed
    )


def test_label_chances_by_hand():
    gap_M = torch.tensor([math.log(3.0), 0.0, -math.log(3.0)], dtype=torch.float64)
    # sigmoid(log 3) = 3/4; scale 2: 9/10. A flip at 1/10: .9 * .75 + .1 * .25 = .7.
    for scale, flip, chances in [
        (1.0, 0.0, [0.75, 0.5, 0.25]),
        (2.0, 0.0, [0.9, 0.5, 0.1]),
        (1.0, 0.1, [0.7, 0.5, 0.3]),
        (math.inf, 0.0, [1.0, 0.5, 0.0]),
        (math.inf, 0.25, [0.75, 0.5, 0.25]),
    ]:
        found = first_chances(gap_M, Labelling(scale=scale, flip=flip))
        assert found.tolist() == pytest.approx(chances, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, math.inf])
@pytest.mark.parametrize("flip", [0.0, 0.2])
@pytest.mark.parametrize("gap", [-1.5, 0.0, 0.7])
def test_labels_come_with_their_chances(scale, flip, gap):
    gap_M = torch.full((M,), gap, dtype=torch.float64)
    labelling = Labelling(scale=scale, flip=flip)
    labels = draw_labels(gap_M, labelling, seed=1)
    assert within(int(labels.first_M.sum()), M, float(first_chances(gap_M[:1], labelling)))
    assert within(int(labels.flipped_M.sum()), M, flip)


def test_flips_are_exact_by_seed():
    gap_M = torch.linspace(-2, 2, 500, dtype=torch.float64)
    plain = draw_labels(gap_M, Labelling(scale=1.0, flip=0.0), seed=5)
    some = draw_labels(gap_M, Labelling(scale=1.0, flip=0.1), seed=5)
    more = draw_labels(gap_M, Labelling(scale=math.inf, flip=0.3), seed=5)
    assert not plain.flipped_M.any()
    # A flip turns the label round, nothing else does.
    assert torch.equal(some.first_M ^ plain.first_M, some.flipped_M)
    # A larger rate flips the same pairs and some more, whatever the scale.
    assert bool((more.flipped_M | ~some.flipped_M).all())
    assert more.flipped_M.sum() > some.flipped_M.sum()
    # Fewer pairs have the same labels, another seed has others.
    fewer = draw_labels(gap_M[:100], Labelling(scale=1.0, flip=0.1), seed=5)
    assert torch.equal(fewer.first_M, some.first_M[:100])
    other = draw_labels(gap_M, Labelling(scale=1.0, flip=0.1), seed=6)
    assert not torch.equal(other.flipped_M, some.flipped_M)


def test_share_against_gold_by_hand():
    gap_M = torch.tensor([1.0, 1.0, -1.0, 0.0, -2.0])
    first_M = torch.tensor([True, False, False, True, False])
    assert share_against_gold(gap_M, first_M) == 0.25  # the second of four; the tie is not one
    with pytest.raises(ValueError, match="got none"):
        share_against_gold(torch.zeros(2), first_M[:2])


@pytest.mark.parametrize(
    ("scale", "flip"), [(0.0, 0.1), (-1.0, 0.1), (math.nan, 0.1), (1.0, 0.6), (1.0, -0.1)]
)
def test_bad_labelling(scale, flip):
    with pytest.raises(ValueError, match="expected a"):
        Labelling(scale=scale, flip=flip)


def test_listed_pairs_have_the_law_of_two_draws_that_differ():
    pairs = listed()
    one_less = 1 - float((PI**2).sum())
    assert not bool((pairs.chosen_M == pairs.rejected_M).any())
    for i in range(4):
        for j in range(4):
            if i == j:
                continue
            # Hard labels: both orders of the two draws end in one order of the pair.
            wins = GOLD[0, i] > GOLD[0, j]
            chance = 2 * float(PI[0, i] * PI[0, j]) / one_less if wins else 0.0
            count = int(((pairs.chosen_M == i) & (pairs.rejected_M == j)).sum())
            assert within(count, M, chance), (i, j)
    assert bool((pairs.gap_M > 0).all())


def test_listed_pairs_with_bradley_terry_labels_and_flips():
    labelling = Labelling(scale=1.5, flip=0.1)
    pairs = listed(labelling)
    for i, j in [(1, 0), (2, 1)]:
        both = ((pairs.chosen_M == i) & (pairs.rejected_M == j)) | (
            (pairs.chosen_M == j) & (pairs.rejected_M == i)
        )
        chance = float(first_chances((GOLD[:, i] - GOLD[:, j]), labelling))
        count = int((pairs.chosen_M[both] == i).sum())
        assert within(count, int(both.sum()), chance)
    gap_M = GOLD[0, pairs.chosen_M] - GOLD[0, pairs.rejected_M]
    assert torch.equal(pairs.gap_M, gap_M)


def test_a_pair_does_not_depend_on_how_many_there_are():
    many, few = listed(count=50), listed(count=20)
    assert torch.equal(many.chosen_M[:20], few.chosen_M)
    assert not torch.equal(listed(seed=4, count=50).chosen_M, many.chosen_M)


def test_a_nearly_certain_policy_still_gives_pairs_that_differ():
    chance_PN = torch.tensor([[1.0, 1e-18, 0.0, 1e-18]], dtype=torch.float64)
    pairs = listed(count=200, chance_PN=chance_PN)
    seen = {
        frozenset(p) for p in zip(pairs.chosen_M.tolist(), pairs.rejected_M.tolist(), strict=True)
    }
    assert seen == {frozenset((0, 1)), frozenset((0, 3))}
    with pytest.raises(ValueError, match="two or more"):
        listed(chance_PN=torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64))


def test_coverage_by_hand():
    score = torch.tensor([[3.0, 1.0, 2.0, 2.0]])
    for share, expected in [
        (0.25, [True, False, False, False]),
        (0.5, [True, False, True, False]),  # the earlier of two that tie
        (0.6, [True, False, True, True]),  # 2.4 responses, rounded up
        (1.0, [True] * 4),
    ]:
        assert best_share(score, share=share)[0].tolist() == expected
    assert int(best_share(torch.rand(1, 30), share=0.1).sum()) == 3
    covered = torch.tensor([[True, True, False, True]])
    found = covered_chances(PI.log(), temperature=1.0, covered_PN=covered)
    assert found[0].tolist() == pytest.approx([0.5 / 0.85, 0.3 / 0.85, 0, 0.05 / 0.85])
    # At temperature 1/2 chances are squared.
    found = covered_chances(PI.log(), temperature=0.5, covered_PN=covered)
    whole = 0.25 + 0.09 + 0.0025
    assert found[0].tolist() == pytest.approx([0.25 / whole, 0.09 / whole, 0, 0.0025 / whole])


def test_bad_coverage():
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="share"):
            best_share(PI, share=share)
        with pytest.raises(ValueError, match="share"):
            is_covered("p", "r", share=share, seed=0)
    with pytest.raises(ValueError, match="NaN"):
        best_share(PI * math.nan, share=0.5)
    with pytest.raises(ValueError, match="temperature"):
        covered_chances(PI.log(), temperature=0.0, covered_PN=PI > 0)
    with pytest.raises(ValueError, match="the first being prompt 0"):
        covered_chances(PI.log(), temperature=1.0, covered_PN=PI > 0.4)


def test_covered_texts_are_a_share_and_stay_the_same():
    texts = [f"text {i}" for i in range(2000)]
    held = [is_covered("p", text, share=0.3, seed=1) for text in texts]
    assert within(sum(held), 2000, 0.3)
    wider = [is_covered("p", text, share=0.6, seed=1) for text in texts]
    assert all(w or not h for h, w in zip(held, wider, strict=True))
    assert held != [is_covered("p", text, share=0.3, seed=2) for text in texts]
    assert held != [is_covered("q", text, share=0.3, seed=1) for text in texts]


def sample(_, seeds):
    """The policy PI over TEXTS, whatever the prompt."""
    upto_N = PI[0].cumsum(0)
    return [TEXTS[int((u >= upto_N).sum().clamp(max=3))] for u in uniforms(seeds, 1)[:, 0]]


def synthetic(count=2000, *, covered=lambda _, __: True, attempts=40, labelling=HARD, **changed):
    return synthetic_preferences(
        ["p"] * count,
        **{
            "sample": sample,
            "gold": lambda _, text: float(GOLD[0, len(text) - 1]),
            "covered": covered,
            "labelling": labelling,
            "attempts": attempts,
            "seed": 7,
            **changed,
        },
    )


def test_sampled_pairs_have_the_law_of_listed_ones():
    # The third text is not covered: pi over the others, 10/17, 6/17 and 1/17.
    found = synthetic(covered=lambda _, text: text != "ccc", labelling=Labelling(1.0, 0.2))
    assert found.without_pair == ()
    assert found.same > 0
    assert found.uncovered > 0
    pi = [10 / 17, 6 / 17, 0.0, 1 / 17]
    one_less = 1 - sum(p * p for p in pi)
    pairs = [(len(p.chosen) - 1, len(p.rejected) - 1) for p in found.preferences]
    for i in range(4):
        for j in range(4):
            if i == j:
                continue
            gap = GOLD[:, i] - GOLD[:, j]
            label = float(first_chances(gap, Labelling(1.0, 0.2)))
            chance = 2 * pi[i] * pi[j] / one_less * label
            assert within(pairs.count((i, j)), 2000, chance), (i, j)


def test_what_a_synthetic_pair_knows():
    found = synthetic(count=60, labelling=Labelling(scale=math.inf, flip=0.3))
    assert [p.meta["pair"] for p in found.preferences] == list(range(60))
    for pair in found.preferences:
        assert pair.meta["gold_chosen"] == float(GOLD[0, len(pair.chosen) - 1])
        assert pair.meta["gold_rejected"] == float(GOLD[0, len(pair.rejected) - 1])
        # The hard judge is against the gold reward where the label was flipped, and only there.
        assert (pair.meta["gold_chosen"] < pair.meta["gold_rejected"]) == pair.meta["flipped"]
    again = synthetic(count=20, labelling=Labelling(scale=math.inf, flip=0.3))
    assert again.preferences == found.preferences[:20]


def test_prompts_without_a_pair_are_told():
    found = synthetic(count=5, covered=lambda _, text: text == "a", attempts=3)
    assert found.preferences == []
    assert found.without_pair == (0, 1, 2, 3, 4)
    assert found.same + found.uncovered == 15
    some = synthetic(count=200, attempts=1)
    assert 0 < len(some.without_pair) == some.same
    assert len(some.preferences) == 200 - some.same
    assert not {p.meta["pair"] for p in some.preferences} & set(some.without_pair)


def test_bad_sampling():
    with pytest.raises(ValueError, match="attempts"):
        synthetic(attempts=0)
    with pytest.raises(ValueError, match="one response to each of 3"):
        synthetic(count=3, sample=lambda _, __: ["a"])
