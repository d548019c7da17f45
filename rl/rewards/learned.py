"""A learned reward: a classifier of texts that people labelled good or bad (direct assessment).

It is a logistic regression on counts of n-grams whose weights can speak only against a text: to
offend takes something that is said. So no text scores higher than the empty one.

Axis letters: N texts, F n-grams.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

START = -3.0  # of the parameters: softplus(-3) = .049 against each n-gram, to begin with


class OffenceClassifier(nn.Module):
    """P(good | text) = sigmoid(bias - sum_g softplus(a_g) count_g(text)) over all n-grams g."""

    def __init__(self, alphabet: str, order: int) -> None:
        """N-grams of `alphabet` up to length `order`. Nothing is random."""
        super().__init__()
        self._place = {
            "".join(gram): i
            for i, gram in enumerate(
                gram for n in range(1, order + 1) for gram in product(alphabet, repeat=n)
            )
        }
        self._order = order
        self.against_F = nn.Parameter(torch.full((len(self._place),), START))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, count_NF: Tensor) -> Tensor:
        """The logit of `good` (N)."""
        return self.bias - count_NF @ nn.functional.softplus(self.against_F)

    def counts(self, texts: Sequence[str]) -> Tensor:
        """How often each n-gram stands in each text, (N, F)."""
        count_NF = torch.zeros(len(texts), len(self._place))
        for row, text in zip(count_NF, texts, strict=True):
            for gram, count in self._grams(text).items():
                row[self._place[gram]] = count
        return count_NF

    def _grams(self, text: str) -> Counter[str]:
        return Counter(
            text[i : i + n] for n in range(1, self._order + 1) for i in range(len(text) - n + 1)
        )

    @torch.no_grad()
    def score(self, text: str) -> float:
        """P(good | text), in double precision: between 0 and the score of the empty text."""
        against_F = nn.functional.softplus(self.against_F.double())
        against = sum(float(against_F[self._place[g]]) * n for g, n in self._grams(text).items())
        return float(torch.sigmoid(self.bias.double() - against).item())


def label_loss(logit_N: Float[Tensor, " N"], good_N: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean over the texts of -log P(label | text), nats; `good_N` is 1 for good and 0 for bad."""
    return nn.functional.binary_cross_entropy_with_logits(logit_N, good_N)
