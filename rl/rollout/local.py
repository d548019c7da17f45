"""The sampler in the trainer's own process: batched, KV-cached, seeded a row.

Row i draws from its own stream of uniforms by inverting the cumulative distribution, so a
completion depends on its seed and prompt alone. Batching changes logits in the last bits only
(padding and matrix shapes change summation order), so a token can differ only where a uniform
falls within that distance of a boundary.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rl.rollout.sampler import Request
from rl.seeding import uniforms
from rl.types import Completion

COMPACT_SHARE = 0.125  # rows that may be finished before the batch is made smaller


class LocalSampler:
    """Samples from a transformers decoder that it may share with the trainer."""

    def __init__(self, model: PreTrainedModel, *, eos_id: int, pad_id: int, max_rows: int) -> None:
        """`max_rows` bounds the rows decoded at once, and so the cache's memory."""
        self._model = model
        self._eos_id = eos_id
        self._pad_id = pad_id
        self._max_rows = max_rows

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Copy weights in; free where `state` is this very model's own."""
        own = self._model.state_dict()
        if any(own[name].data_ptr() != tensor.data_ptr() for name, tensor in state.items()):
            self._model.load_state_dict(dict(state))

    def generate(
        self,
        requests: Sequence[Request],
        *,
        temperature: float,
        max_new_tokens: int,
        ignore_eos: bool = False,
    ) -> list[Completion]:
        """One completion a request, in their order.

        Args:
            requests: prompts (token ids, at least one) and seeds.
            temperature: logits are divided by it; log-probs are under the result.
            max_new_tokens: a row that has not sampled EOS by then ends with reason `length`.
            ignore_eos: EOS is a token like any other, so that every row gets max_new_tokens; the
                reason still says `stop` where it was sampled.
        """
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        found: dict[int, Completion] = {}
        self._model.eval()
        for start in range(0, len(order), self._max_rows):
            rows = order[start : start + self._max_rows]
            chunk = [requests[i] for i in rows]
            for i, completion in zip(
                rows, self._decode(chunk, temperature, max_new_tokens, ignore_eos), strict=True
            ):
                found[i] = completion
        return [found[i] for i in range(len(requests))]

    @torch.inference_mode()
    def _decode(
        self,
        requests: Sequence[Request],
        temperature: float,
        max_new_tokens: int,
        ignore_eos: bool,
    ) -> list[Completion]:
        device = self._model.device
        token_BT, attention_BT = self._pad_left([r.prompt_ids for r in requests])
        uniform_BT = torch.from_numpy(uniforms([r.seed for r in requests], max_new_tokens))
        uniform_BT = uniform_BT.to(device)
        row_B = torch.arange(len(requests), device=device)  # which request a live row answers
        out_token_BT = torch.full((len(requests), max_new_tokens), self._pad_id, device=device)
        out_logp_BT = torch.zeros(len(requests), max_new_tokens, device=device)
        length_B = torch.full((len(requests),), max_new_tokens, device=device)
        stopped_B = torch.zeros(len(requests), dtype=torch.bool, device=device)
        live_B = torch.ones(len(requests), dtype=torch.bool, device=device)
        cache = DynamicCache(config=self._model.config)
        for t in range(max_new_tokens):
            position_BT = attention_BT.cumsum(1)[:, -token_BT.shape[1] :] - 1
            logits_BV = self._model(
                input_ids=token_BT,
                attention_mask=attention_BT,
                position_ids=position_BT.clamp(min=0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            next_B, logp_B = sample(logits_BV, uniform_BT[row_B, t], temperature=temperature)
            out_token_BT[row_B[live_B], t] = next_B[live_B]
            out_logp_BT[row_B[live_B], t] = logp_B[live_B]
            eos_B = live_B & (next_B == self._eos_id)
            stopped_B[row_B[eos_B]] = True
            if not ignore_eos:
                length_B[row_B[eos_B]] = t + 1
                live_B = live_B & ~eos_B
            live = int(live_B.sum())
            if live == 0:
                break
            token_BT = next_B[:, None]
            attention_BT = torch.cat([attention_BT, attention_BT.new_ones(len(row_B), 1)], dim=1)
            if len(row_B) - live >= COMPACT_SHARE * len(row_B):
                keep = live_B.nonzero()[:, 0]
                cache.batch_select_indices(keep)
                token_BT, attention_BT = token_BT[keep], attention_BT[keep]
                row_B, live_B = row_B[keep], live_B[keep]
        return _completions(out_token_BT, out_logp_BT, length_B, stopped_B)

    def _pad_left(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        width = max(len(prompt) for prompt in prompts)
        tokens = [(self._pad_id,) * (width - len(p)) + p for p in prompts]
        mask = [(0,) * (width - len(p)) + (1,) * len(p) for p in prompts]
        device = self._model.device
        return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


def sample(logits_BV: Tensor, uniform_B: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw by inverting the cumulative distribution of softmax(logits / temperature).

    Args:
        logits_BV: unnormalised log-probabilities.
        uniform_B: float64 in [0, 1).
        temperature: > 0.

    Returns:
        Token ids (int64, B) and their log-probs under the sampling distribution (float32, B).
    """
    logp_BV = torch.log_softmax(logits_BV.float() / temperature, dim=-1)
    cumulative_BV = logp_BV.double().exp().cumsum(dim=-1)
    target_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    next_B1 = torch.searchsorted(cumulative_BV, target_B1, right=True)
    next_B1 = next_B1.clamp(max=logits_BV.shape[-1] - 1)
    return next_B1[:, 0], logp_BV.gather(1, next_B1)[:, 0]


def _completions(
    token_BT: Tensor, logp_BT: Tensor, length_B: Tensor, stopped_B: Tensor
) -> list[Completion]:
    tokens, logps = token_BT.tolist(), logp_BT.tolist()
    return [
        Completion(tuple(tokens[i][:n]), tuple(logps[i][:n]), "stop" if stopped else "length")
        for i, (n, stopped) in enumerate(zip(length_B.tolist(), stopped_B.tolist(), strict=True))
    ]
