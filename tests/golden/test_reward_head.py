"""The head of a reward model: where it reads, how it starts, and what centring does."""

import pytest
import torch
from torch import Tensor

from rl.models import RewardModel, combined
from rl.models.heads import last_places
from tests.tiny import decoder

ROWS = [(3, 5, 4, 6, 1), (4, 6, 1), (5,)]


def padded(width: int, fill: int) -> tuple[Tensor, Tensor]:
    token_BT = torch.tensor([[*row, *[fill] * (width - len(row))] for row in ROWS])
    return token_BT, torch.tensor([len(row) for row in ROWS])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_the_score_is_read_at_the_last_real_token(architecture: str, *, tied: bool) -> None:
    """By transformers' own states of each row alone: whatever fills it up, be it EOS."""
    base = decoder(architecture=architecture, tie_embeddings=tied)
    model = RewardModel(base, seed=3)
    with torch.no_grad():
        model.head.bias.fill_(0.25)
        states = [base.model(input_ids=torch.tensor([row])).last_hidden_state for row in ROWS]
        head_C = model.head.weight[0]
        wanted_B = torch.stack([state_1TC[0, -1] @ head_C + 0.25 for state_1TC in states])
        for width, fill in [(5, 0), (5, 1), (9, 0), (9, 7)]:
            found_B = model(*padded(width, fill))
            torch.testing.assert_close(found_B, wanted_B, rtol=1e-4, atol=1e-5)
    assert len(set(wanted_B.tolist())) == 3


def test_without_the_fused_form_it_is_the_same() -> None:
    model = RewardModel(decoder(), seed=3)
    with torch.no_grad():
        fused_B = model(*padded(7, 0))
        model.double()  # which is not fused
        torch.testing.assert_close(model(*padded(7, 0)).float(), fused_B, rtol=1e-4, atol=1e-5)


def test_lengths_must_fit() -> None:
    assert last_places(torch.tensor([1, 4]), width=4).tolist() == [0, 3]
    for length in (0, 5):
        with pytest.raises(ValueError, match="length_B"):
            last_places(torch.tensor([length]), width=4)


def test_the_head_starts_with_spread_one_over_the_root_of_channels_and_one() -> None:
    """std 1 / sqrt(d + 1) to the spread of an estimate from n numbers, about std / sqrt(2 n)."""
    base = decoder()
    heads = torch.cat([RewardModel(base, seed=i).head.weight[0].detach() for i in range(1000)])
    wanted = 33**-0.5
    assert abs(float(heads.std()) - wanted) < 4 * wanted / (2 * len(heads)) ** 0.5
    assert abs(float(heads.mean())) < 4 * wanted / len(heads) ** 0.5
    model = RewardModel(base, seed=0)
    assert torch.equal(model.head.bias.detach(), torch.zeros(1))
    assert torch.equal(model.head.weight.detach(), RewardModel(base, seed=0).head.weight.detach())


def test_the_decoders_own_head_takes_no_part() -> None:
    for tied in (True, False):
        model = RewardModel(decoder(tie_embeddings=tied), seed=0)
        model(*padded(5, 0)).sum().backward()
        missing = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
        assert missing == set()


def test_centring_moves_every_score_by_as_much() -> None:
    model = RewardModel(decoder(), seed=0)
    with torch.no_grad():
        before_B = model(*padded(5, 0))
        model.centre(float(before_B.mean()))
        after_B = model(*padded(5, 0))
    assert float(after_B.mean()) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(after_B - after_B[0], before_B - before_B[0])


def test_members_together() -> None:
    score_KB = torch.tensor([[1.0, -2.0, 0.0], [3.0, 2.0, -6.0]], dtype=torch.float64)
    assert combined(score_KB, how="mean").tolist() == [2.0, 0.0, -3.0]
    assert combined(score_KB, how="lowest").tolist() == [1.0, -2.0, -6.0]
    with pytest.raises(ValueError, match="mean or lowest"):
        combined(score_KB, how="highest")
    with pytest.raises(ValueError, match="members"):
        combined(score_KB[:0], how="mean")
