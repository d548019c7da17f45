"""Numbers instead of tokens: a decoder with a scalar head, and a policy with its critic.

Axis letters: B rows, T tokens, V vocabulary, C channels; R response tokens, of which place 0 is the
last of the prompt.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rl.models.decoder import Decoder
from rl.models.fused import FusedDecoder


def scalar_head(channels: int, *, seed: int) -> nn.Linear:
    """States (..., C) -> numbers (..., 1): weights normal with std 1 / sqrt(C + 1), the bias 0
    (2009.01325's reward model; 2403.17031)."""
    head = nn.Linear(channels, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(std=1 / math.sqrt(channels + 1), generator=generator)
        head.bias.zero_()
    return head


class ScalarDecoder(nn.Module):
    """A number after every token: a critic, or a reward model where the last one is read.

    The decoder's own output layer is not used; where it has weights of its own, they do not train.
    """

    def __init__(self, decoder: Decoder, head: nn.Linear, *, fuse: bool = True) -> None:
        """`decoder` and `head` become its own."""
        super().__init__()
        self.trunk = FusedDecoder(decoder, fuse=fuse)
        self.head = head
        output: Any = decoder.get_output_embeddings()
        if output.weight is not decoder.get_input_embeddings().weight:
            output.requires_grad_(False)

    def forward(self, input_ids: Tensor, prompt_lengths: Tensor | None = None) -> Tensor:
        """Numbers after each of right-padded tokens (B, T), float32; with `prompt_lengths` (B)
        those from each row's last prompt token on (B, 1 + R). Anything where the padding is."""
        found = self.trunk(input_ids=input_ids, prompt_lengths=prompt_lengths, states=True)
        return _numbers(self.head, found.hidden_states[0])


class Judged(NamedTuple):
    """What policy and critic say of the same tokens, from each row's last prompt token on."""

    logits: Tensor  # (B, 1 + R, V)
    values: Tensor  # (B, 1 + R), float32: what the state after that token is worth


class ActorCritic(nn.Module):
    """A policy and its critic as one module, so that one engine steps both.

    The critic is a scalar head on the policy's trunk, or a decoder of its own.
    """

    def __init__(
        self, policy: Decoder, critic: nn.Linear | ScalarDecoder, *, fuse: bool = True
    ) -> None:
        """Both become its own."""
        super().__init__()
        self.policy = FusedDecoder(policy, fuse=fuse)
        self.critic = critic

    def forward(self, input_ids: Tensor, prompt_lengths: Tensor) -> Judged:
        """Of right-padded tokens (B, T) whose first `prompt_lengths` (B) are the prompt's."""
        if isinstance(self.critic, ScalarDecoder):
            policy = self.policy(input_ids=input_ids, prompt_lengths=prompt_lengths)
            return Judged(policy.logits, self.critic(input_ids, prompt_lengths))
        policy = self.policy(input_ids=input_ids, prompt_lengths=prompt_lengths, states=True)
        return Judged(policy.logits, _numbers(self.critic, policy.hidden_states[0]))


def _numbers(head: nn.Linear, state_BTC: Tensor) -> Tensor:
    numbers: Tensor = head(state_BTC)[..., 0]
    return numbers.float()
