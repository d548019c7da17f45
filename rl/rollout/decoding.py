"""One token a row and call: the plain path through transformers' cache, and a fast one.

Axis letters as in rl.models.fused; S slots of the cache.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rl.models.fused import Fused, can_fuse

KV_CACHE_BYTES = 128 * 2**20  # of the rows decoded at once on a CPU; beyond it tokens/s fall
GPU_KV_CACHE_BYTES = 16 * 2**30  # the same on a GPU, beside the training state of a large model
LEAST_ROWS = 64  # on a CPU; below it the products are too small


class Decoding(Protocol):
    """A batch of rows in decoding."""

    def start(self, prompts: Sequence[tuple[int, ...]], steps: int) -> Tensor:
        """Logits (B, V) of the first of at most `steps` tokens after each prompt."""

    def step(self, token_B: Tensor) -> Tensor:
        """Logits (B, V) of the next token, the last one being `token_B`."""

    def keep(self, row_B: Tensor) -> None:
        """Go on with these rows only, given in ascending order."""


def decode_with(model: PreTrainedModel, pad_id: int, *, share_prompts: bool = True) -> Decoding:
    """The fast path where it computes what `model` does, else the plain one."""
    if can_fuse(model):
        return FusedDecoding(model, pad_id, share_prompts=share_prompts)
    return PlainDecoding(model, pad_id)


def rows_at_once(model: PreTrainedModel, tokens: int, most: int) -> int:
    """How many rows of `tokens` (prompt and response) to decode at once: `most`, or as many as
    keep the keys and values within KV_CACHE_BYTES, on a GPU within GPU_KV_CACHE_BYTES."""
    on_cpu = model.device.type == "cpu"
    config = model.config
    size = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    row_bytes: int = 2 * config.num_hidden_layers * size * tokens * model.dtype.itemsize
    within = (KV_CACHE_BYTES if on_cpu else GPU_KV_CACHE_BYTES) // row_bytes
    return min(most, max(LEAST_ROWS if on_cpu else 1, within))


class PlainDecoding:
    """transformers' own forward pass and cache: any decoder, and the reference for the other."""

    def __init__(self, model: PreTrainedModel, pad_id: int) -> None:
        self._model = model
        self._pad_id = pad_id

    def start(self, prompts: Sequence[tuple[int, ...]], steps: int) -> Tensor:  # noqa: ARG002
        """See Decoding."""
        token_BT, padding_B = pad_left(prompts, self._pad_id, self._model.device)
        slot_T = torch.arange(token_BT.shape[1], device=token_BT.device)
        self._attention_BT = (slot_T >= padding_B[:, None]).long()
        self._cache = DynamicCache(config=self._model.config)
        return self._forward(token_BT)

    def step(self, token_B: Tensor) -> Tensor:
        """See Decoding."""
        one_B1 = self._attention_BT.new_ones(len(token_B), 1)
        self._attention_BT = torch.cat([self._attention_BT, one_B1], dim=1)
        return self._forward(token_B[:, None])

    def keep(self, row_B: Tensor) -> None:
        """See Decoding."""
        self._cache.batch_select_indices(row_B)
        self._attention_BT = self._attention_BT[row_B]

    def _forward(self, token_BT: Tensor) -> Tensor:
        position_BT = self._attention_BT.cumsum(1)[:, -token_BT.shape[1] :] - 1
        logits_BTV: Tensor = self._model(
            input_ids=token_BT,
            attention_mask=self._attention_BT,
            position_ids=position_BT.clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits_BTV[:, -1]


class FusedDecoding:
    """`Fused` weights, keys and values in memory that is taken once, each prompt read once.

    A row's slot stands for its position: attention depends on differences of positions alone.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int, *, share_prompts: bool = True) -> None:
        """`share_prompts` reads a prompt once for all rows that have it."""
        self._fused = Fused(model)
        self._pad_id = pad_id
        self._share = share_prompts
        self._device = model.device

    def start(self, prompts: Sequence[tuple[int, ...]], steps: int) -> Tensor:
        """See Decoding."""
        unique = list(dict.fromkeys(prompts)) if self._share else list(prompts)
        token_UT, padding_U = pad_left(unique, self._pad_id, self._device)
        width, fused = token_UT.shape[1], self._fused
        shape = (len(fused.layers), len(prompts), fused.kv_heads, width + steps, fused.head_size)
        self._key = torch.empty(shape, device=self._device)
        self._value = torch.empty(shape, device=self._device)
        self._filled = 0
        self._rows = len(unique)
        self._position_S = torch.arange(width + steps, device=self._device)
        self._bias_B1S: Tensor | None = None
        if int(padding_U.max()):
            self._bias_B1S = _hidden(self._position_S < padding_U[:, None])[:, None]
        logits_UV = self._forward(token_UT)
        if len(unique) < len(prompts):
            place = {prompt: i for i, prompt in enumerate(unique)}
            row_B = torch.tensor([place[prompt] for prompt in prompts], device=self._device)
            self.keep(row_B)
            logits_UV = logits_UV[row_B]
        return logits_UV

    def step(self, token_B: Tensor) -> Tensor:
        """See Decoding."""
        return self._forward(token_B[:, None])

    def keep(self, row_B: Tensor) -> None:
        """See Decoding. A row may also stand several times."""
        for cache in (self._key, self._value):
            for layer in cache:  # one at a time, which bounds the copies
                layer[: len(row_B), :, : self._filled] = layer[row_B, :, : self._filled]
        self._rows = len(row_B)
        if self._bias_B1S is not None:
            self._bias_B1S = self._bias_B1S[row_B]

    def _forward(self, token_BT: Tensor) -> Tensor:
        first, self._filled = self._filled, self._filled + token_BT.shape[1]
        position_T = self._position_S[first : self._filled]
        bias = None if self._bias_B1S is None else self._bias_B1S[:, :, : self._filled]
        if len(position_T) > 1:
            causal_TS = _hidden(self._position_S[: self._filled] > position_T[:, None])
            bias = causal_TS[None] if bias is None else torch.minimum(bias, causal_TS)

        def attend(i: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = (x[i, : self._rows, :, : self._filled] for x in (self._key, self._value))
            keys[:, :, first:] = key.transpose(1, 2)
            values[:, :, first:] = value.transpose(1, 2)
            return _attention(query, keys.flatten(0, 1), values.flatten(0, 1), bias)

        hidden_BTC = self._fused.hidden(token_BT, position_T, attend)
        return self._fused.logits(hidden_BTC[:, -1])


def _hidden(mask: Tensor) -> Tensor:
    """What is added to scores: half of the lowest number where the mask is, so that no sum of it
    and a score is infinite."""
    return torch.where(mask, torch.finfo(torch.float32).min / 2, 0.0)


def _attention(query_BTND: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(D) + bias) v, (B, T, N, D); keys and values are (B*K, S, D).

    Products of a few rows are faster this way than in the fused attention of PyTorch's CPU build.
    """
    rows, width, heads, size = query_BTND.shape
    kv_heads = len(key) // rows
    group = heads // kv_heads
    query = query_BTND.view(rows, width, kv_heads, group, size).permute(0, 2, 3, 1, 4)
    query = query.reshape(rows * kv_heads, group * width, size) * size**-0.5
    score = torch.bmm(query, key.transpose(1, 2))
    if bias is not None:
        shaped = score.view(rows, kv_heads * group, width, -1)
        shaped += bias[:, None]
    mixed = torch.bmm(score.softmax(dim=-1), value)
    mixed = mixed.view(rows, kv_heads, group, width, size).permute(0, 3, 1, 2, 4)
    return mixed.reshape(rows, width, heads, size)


def pad_left(
    prompts: Sequence[tuple[int, ...]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompts as one tensor (B, T), and how many pads stand before each."""
    width = max(len(prompt) for prompt in prompts)
    tokens = [(pad_id,) * (width - len(p)) + p for p in prompts]
    padding = [width - len(p) for p in prompts]
    return torch.tensor(tokens, device=device), torch.tensor(padding, device=device)
