"""Responses that end: token 0 is the end of text, so that lengths differ and all can be listed.

Axis letters: P prompts, K contexts, V tokens, T places, N responses; `...` for tables side by side.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.tabular.exact import list_responses
from rl.tabular.worlds import tree_world

END = 0


@dataclass(frozen=True)
class Texts:
    """Every response to every prompt, of at most T tokens; the end of text counts as one.

    Contexts are those of rl.tabular.worlds.tree_world. What stands after the end is not written.
    """

    context_PNT: Tensor  # int64
    token_NT: Tensor  # int64
    written_NT: Tensor  # bool
    contexts: int
    vocabulary: int

    @property
    def lengths(self) -> Tensor:
        """Tokens of each response [N], 1 to T."""
        return self.written_NT.sum(dim=1)


def list_texts(*, prompts: int, vocabulary: int, length: int) -> Texts:
    """All texts of up to `length` tokens, the last of which need not be the end.

    (V - 1)^(t - 1) end at place t, and (V - 1)^T do not end.
    """
    blank_PN = torch.zeros(prompts, vocabulary**length, dtype=torch.float64)
    target_P = torch.zeros(prompts, dtype=torch.int64)
    world = tree_world(blank_PN, target_P, vocabulary=vocabulary, length=length)
    listing = list_responses(world)
    ended_NT = (listing.token_NT == END).cumsum(dim=1) - (listing.token_NT == END).long() > 0
    # After the end, one of all continuations stands for the text: the one of tokens 0.
    kept_N = ~(ended_NT & (listing.token_NT != END)).any(dim=1)
    return Texts(
        context_PNT=listing.context_PNT[:, kept_N],
        token_NT=listing.token_NT[kept_N],
        written_NT=~ended_NT[kept_N],
        contexts=world.contexts,
        vocabulary=vocabulary,
    )


def text_logps(texts: Texts, logp_KV: Float[Tensor, "*S K V"]) -> Float[Tensor, "*S P N"]:
    """log pi(y) of every text [..., P, N], nats: the sum over the tokens that are written."""
    logp_PNT = logp_KV[..., texts.context_PNT, texts.token_NT]
    return logp_PNT.masked_fill(~texts.written_NT, 0.0).sum(dim=-1)


def tree_logps(texts: Texts, logp_PN: Float[Tensor, "P N"]) -> Float[Tensor, "K V"]:
    """The table whose texts have these log-probabilities: log of mass(k, v) / mass(k) [K, V].

    Contexts that no text leads to have even chances.

    Args:
        texts: all texts.
        logp_PN: finite, normalised for each prompt.
    """
    mass_PNT = logp_PN.double().exp()[..., None] * texts.written_NT
    at_M = texts.context_PNT * texts.vocabulary + texts.token_NT
    mass_KV = torch.zeros(texts.contexts * texts.vocabulary, dtype=torch.float64)
    mass_KV = mass_KV.index_add(0, at_M.flatten(), mass_PNT.flatten()).view(texts.contexts, -1)
    empty_K1 = mass_KV.sum(dim=1, keepdim=True) == 0
    mass_KV = torch.where(empty_K1, torch.ones_like(mass_KV), mass_KV)
    return mass_KV.log() - mass_KV.sum(dim=1, keepdim=True).log()


def prefix_features(texts: Texts) -> Float[Tensor, "N D"]:
    """1 for each prefix of a text, the text itself included; the same of every prompt."""
    own = texts.contexts // len(texts.context_PNT)
    at_NT = texts.context_PNT[0] * texts.vocabulary + texts.token_NT
    return _marked(texts, at_NT, own * texts.vocabulary)


def token_features(texts: Texts) -> Float[Tensor, "N D"]:
    """1 for each pair of a place and the token that a text has there: D = T V."""
    length = texts.token_NT.shape[1]
    at_NT = torch.arange(length) * texts.vocabulary + texts.token_NT
    return _marked(texts, at_NT, length * texts.vocabulary)


def _marked(texts: Texts, at_NT: Tensor, count: int) -> Tensor:
    feature_ND = torch.zeros(len(at_NT), count, dtype=torch.float64)
    feature_ND = feature_ND.scatter_add(1, at_NT, texts.written_NT.double())
    return feature_ND[:, feature_ND.any(dim=0)]
