"""The lecture's toy world in numbers worked by hand, and by a second enumeration."""

import itertools
import math

import pytest
import torch
from torch import nn

from rl.worlds.lecture_sorting import (
    PROMPTS,
    REWARDS,
    VOCABULARY,
    WIDTH,
    Exam,
    LectureSorter,
    all_sequences,
    exact,
    inclusion_ordering,
    kl_per_prompt,
    multiset_ordering,
    position_match,
    response_chances,
    response_logps,
    sample_responses,
    score,
)

EVERY = list(itertools.product(range(VOCABULARY), repeat=3))


@pytest.mark.parametrize(
    ("response", "inclusion", "multiset", "positions"),
    [
        ((0, 1, 2, 3), 4 + 3, 4 + 3, 4),
        ((7, 2, 2, 5), 1 + 2, 1 + 2, 1),  # 7 > 2 is the pair out of order; 2 is the third of four
        ((0, 3, 1, 2), 4 + 2, 4 + 2, 1),
        ((3, 2, 1, 0), 4 + 0, 4 + 0, 0),
        ((2, 2, 2, 2), 1 + 3, 1 + 3, 1),
    ],
)
def test_rewards_of_a_prompt_of_four(response, inclusion, multiset, positions):
    prompt = (3, 1, 0, 2)
    assert inclusion_ordering(prompt, response) == inclusion
    assert multiset_ordering(prompt, response) == multiset
    assert position_match(prompt, response) == positions
    assert exact(prompt, response) == (response == (0, 1, 2, 3))


def test_a_token_that_the_prompt_has_twice_is_a_hole():
    prompt, wrong, right = (1, 1, 2), (0, 1, 2), (1, 1, 2)
    assert inclusion_ordering(prompt, wrong) == inclusion_ordering(prompt, right) == 5
    assert (multiset_ordering(prompt, wrong), multiset_ordering(prompt, right)) == (4, 5)
    assert (position_match(prompt, wrong), position_match(prompt, right)) == (2, 3)
    assert (exact(prompt, wrong), exact(prompt, right)) == (0, 1)


def test_only_the_lectures_reward_has_the_hole_and_only_where_tokens_repeat():
    for prompt in itertools.combinations_with_replacement(range(VOCABULARY), 3):
        for name, reward in REWARDS.items():
            most = max(reward(prompt, response) for response in EVERY)
            best = [response for response in EVERY if reward(prompt, response) == most]
            assert tuple(sorted(prompt)) in best
            hole = name == "inclusion_ordering" and len(set(prompt)) < 3
            assert (len(best) > 1) == hole, (name, prompt)
            assert most == {"position_match": 3, "exact": 1}.get(name, 5)


def test_one_answer_for_all_prompts_scores_four_and_a_third():
    """(1, 2, 3): two of three tokens and both pairs, twice; then all. No constant beats it."""

    def mean(reward, response):
        return sum(reward(prompt, response) for prompt in PROMPTS) / 3

    assert mean(inclusion_ordering, (1, 2, 3)) == pytest.approx((4 + 4 + 5) / 3)
    assert round(mean(inclusion_ordering, (1, 2, 3)), 2) == 4.33
    assert max(mean(inclusion_ordering, response) for response in EVERY) == mean(
        inclusion_ordering, (1, 2, 3)
    )
    assert mean(exact, (1, 2, 3)) == pytest.approx(1 / 3)


def test_uniform_policy_by_hand():
    """Inclusion: each of three tokens is there with 1 - (4/5)^3 = .488; each pair is in order with
    15/25; a position is right with 1/5; the sorted prompt has 1/125."""
    logits = torch.zeros(3, 3, 5)
    graded = {name: Exam(r, PROMPTS, vocabulary=5).grade(logits) for name, r in REWARDS.items()}
    expected = {
        "inclusion_ordering": 3 * 0.488 + 2 * 0.6,
        "multiset_ordering": 3 * 0.488 + 2 * 0.6,  # the prompts' tokens are distinct
        "position_match": 0.6,
        "exact": 1 / 125,
    }
    for name, value in expected.items():
        assert graded[name]["reward"].tolist() == pytest.approx([value] * 3, rel=1e-12)
        assert graded[name]["exact"].tolist() == pytest.approx([1 / 125] * 3, rel=1e-12)
        assert graded[name]["hacked"].tolist() == [0.0] * 3
        assert graded[name]["entropy"].tolist() == pytest.approx([3 * math.log(5)] * 3)


def test_hacking_is_the_chance_of_the_reward_without_the_answer():
    """For (1, 1, 2) the maximum goes to 112, 122 and the 012, 123, 124: of five one is sorted."""
    logits = torch.zeros(1, 3, 5)
    graded = Exam(inclusion_ordering, [(1, 1, 2)], vocabulary=5).grade(logits)
    assert graded["hacked"].item() == pytest.approx(4 / 125)
    assert graded["exact"].item() == pytest.approx(1 / 125)
    closed = Exam(multiset_ordering, [(1, 1, 2)], vocabulary=5).grade(logits)
    assert closed["hacked"].item() == 0.0
    certain = torch.full((1, 3, 5), -50.0)
    certain[0, [0, 1, 2], [0, 1, 2]] = 50.0
    graded = Exam(inclusion_ordering, [(1, 1, 2)], vocabulary=5).grade(certain)
    assert graded["hacked"].item() == pytest.approx(1.0)
    assert graded["modal_reward"].item() == graded["reward"].item() == 5.0


def test_a_grade_is_the_sum_over_responses_one_by_one():
    logits = torch.randn(3, 3, 5, generator=torch.Generator().manual_seed(3)) * 2
    graded = Exam(inclusion_ordering, PROMPTS, vocabulary=5).grade(logits)
    chance = torch.softmax(logits.double(), dim=-1)
    for p, prompt in enumerate(PROMPTS):
        weighted = {y: math.prod(float(chance[p, t, y[t]]) for t in range(3)) for y in EVERY}
        assert sum(weighted.values()) == pytest.approx(1.0)
        reward = sum(w * inclusion_ordering(prompt, y) for y, w in weighted.items())
        assert graded["reward"][p].item() == pytest.approx(reward, rel=1e-12)
        assert graded["exact"][p].item() == pytest.approx(weighted[tuple(sorted(prompt))])
        likeliest = max(weighted, key=lambda y: weighted[y])
        assert graded["modal_reward"][p].item() == inclusion_ordering(prompt, likeliest)
        entropy = -sum(w * math.log(w) for w in weighted.values())
        assert graded["entropy"][p].item() == pytest.approx(entropy)


def test_divergence_is_that_of_whole_responses():
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.randn(2, 3, 5, generator=generator).double() for _ in range(2))
    every = all_sequences(5, 3)
    p, q = response_chances(one, every), response_chances(two, every)
    whole = (p * (p / q).log()).sum(dim=1)
    torch.testing.assert_close(kl_per_prompt(one, two), whole)
    assert bool((whole > 0.5).all())
    assert kl_per_prompt(one, one).tolist() == [0.0, 0.0]


def test_log_probs_of_responses_are_read_position_by_position():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2))
    responses = torch.tensor([[[0, 1, 2], [4, 4, 0]], [[3, 2, 1], [1, 1, 1]]])
    found = response_logps(logits, responses)
    for p, g, t in itertools.product(range(2), range(2), range(3)):
        row = logits[p, t]
        expected = row[responses[p, g, t]] - row.exp().sum().log()
        assert found[p, g, t].item() == pytest.approx(expected.item(), rel=1e-5)


def test_sampling_follows_the_policy_at_its_own_place():
    logits = torch.full((2, 3, 5), -60.0)
    answers = [[0, 1, 2], [4, 3, 2]]
    for p, t in itertools.product(range(2), range(3)):
        logits[p, t, answers[p][t]] = 60.0
    drawn = sample_responses(logits, count=4, generator=torch.Generator().manual_seed(0))
    assert drawn.tolist() == [[answers[0]] * 4, [answers[1]] * 4]
    uneven = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625]).log().expand(1, 3, 5)
    many = sample_responses(uneven, count=20000, generator=torch.Generator().manual_seed(1))
    share = torch.stack([(many == v).double().mean() for v in range(5)])
    torch.testing.assert_close(share, uneven[0, 0].double().exp(), rtol=0, atol=0.006)


def test_the_model_is_drawn_as_torchs_global_stream_would_draw_it():
    """The lecture seeds torch and makes an nn.Embedding, then two sets of matrices."""
    torch.manual_seed(5)
    embedding = nn.Embedding(VOCABULARY, WIDTH).weight
    encode, decode = (torch.randn(3, WIDTH, WIDTH) / math.sqrt(WIDTH) for _ in range(2))
    after = torch.rand(4)
    generator = torch.Generator().manual_seed(5)
    model = LectureSorter(vocabulary=VOCABULARY, width=WIDTH, length=3, generator=generator)
    for ours, theirs in zip(model.parameters(), (embedding, encode, decode), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(torch.rand(4, generator=generator), after)


def test_the_forward_pass_by_loops():
    model = LectureSorter(
        vocabulary=4, width=3, length=2, generator=torch.Generator().manual_seed(0)
    )
    prompts = torch.tensor([[3, 1], [0, 0]])
    logits = model(prompts)
    e, a, b = (w.detach().double() for w in model.parameters())
    for p, prompt in enumerate(prompts.tolist()):
        code = sum(e[x] @ a[s] for s, x in enumerate(prompt))
        for t, v in itertools.product(range(2), range(4)):
            expected = float(code @ b[t] @ e[v])
            assert logits[p, t, v].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_scores_stand_in_place():
    responses = torch.tensor([[[0, 1, 2], [2, 1, 0]], [[0, 0, 0], [2, 3, 4]]])
    found = score(inclusion_ordering, torch.tensor([[1, 0, 2], [3, 2, 4]]), responses)
    assert found.tolist() == [[5.0, 3.0], [2.0, 5.0]]
