"""The sampler in the trainer's own process: batched, KV-cached, seeded a row.

Row i draws from its own stream of uniforms by inverting the cumulative distribution, so a
completion depends on its seed and prompt alone. Batching changes logits in the last bits only
(padding and matrix shapes change summation order), so a token can differ only where a uniform
falls within that distance of a boundary.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rl.models import Ends
from rl.rollout.decoding import Decoding, decode_with, rows_at_once
from rl.rollout.sampler import Request
from rl.seeding import uniforms
from rl.types import Completion

COMPACT_SHARE = 0.125  # rows that may be finished before the batch is made smaller


class LocalSampler:
    """Samples from a transformers decoder that it may share with the trainer."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        eos_id: int,
        pad_id: int,
        max_rows: int,
        share_prompts: bool = True,
        ends: Ends | None = None,
    ) -> None:
        """`max_rows` bounds the rows decoded at once; the rule for CPU caches may take fewer.

        With `share_prompts` a prompt is read once for all of a batch's rows that have it. `ends`
        is where a response ends besides EOS.
        """
        self._model = model
        self._eos_id = eos_id
        self._pad_id = pad_id
        self._max_rows = max_rows
        self._share_prompts = share_prompts
        self._ends = ends

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Copy weights in, to where they come from; free where `state` is this very model's own."""
        own = self._model.state_dict()
        if any(own[name].data_ptr() != tensor.data_ptr() for name, tensor in state.items()):
            one = next(iter(state.values()))
            self._model.to(one.device, one.dtype)  # type: ignore[arg-type]
            self._model.load_state_dict(dict(state))

    def close(self) -> None:
        """See Sampler. The model is its owner's."""

    @torch.inference_mode()
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
            max_new_tokens: a row that has not sampled EOS by then, or by its own request's limit,
                ends with reason `length`.
            ignore_eos: EOS, or another end, is like any other token, so that every row gets all
                its tokens; the reason still says `stop` where it was sampled.
        """
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        found: dict[int, Completion] = {}
        self._model.eval()
        decoding = decode_with(self._model, self._pad_id, share_prompts=self._share_prompts)
        longest = max((len(request.prompt_ids) for request in requests), default=0)
        most = rows_at_once(self._model, longest + max_new_tokens, self._max_rows)
        for rows in _even_parts(order, most):
            completions = self._decode(
                decoding, [requests[i] for i in rows], temperature, max_new_tokens, ignore_eos
            )
            found.update(zip(rows, completions, strict=True))
        return [found[i] for i in range(len(requests))]

    def _decode(
        self,
        decoding: Decoding,
        requests: Sequence[Request],
        temperature: float,
        max_new_tokens: int,
        ignore_eos: bool,
    ) -> list[Completion]:
        device, count = self._model.device, len(requests)
        uniform_BT = torch.from_numpy(uniforms([r.seed for r in requests], max_new_tokens))
        uniform_BT = uniform_BT.to(device)
        limits = [min(r.max_new_tokens or max_new_tokens, max_new_tokens) for r in requests]
        limit_B = torch.tensor(limits, device=device)
        row_B = torch.arange(count, device=device)  # which request a decoded row answers
        live_B = torch.ones(count, dtype=torch.bool, device=device)
        out_token_BT = torch.full((count, max_new_tokens), self._pad_id, device=device)
        out_logp_BT = torch.zeros(count, max_new_tokens, device=device)
        length_B = limit_B.clone()
        stopped_B = torch.zeros(count, dtype=torch.bool, device=device)
        logits_BV = decoding.start([r.prompt_ids for r in requests], max_new_tokens)
        for t in range(max_new_tokens):
            next_B, logp_B = sample(logits_BV, uniform_BT[row_B, t], temperature=temperature)
            out_token_BT[row_B[live_B], t] = next_B[live_B]
            out_logp_BT[row_B[live_B], t] = logp_B[live_B]
            eos_B = live_B & (next_B == self._eos_id)
            if self._ends is not None:
                eos_B |= self._other_ends(self._ends, out_token_BT[:, : t + 1], row_B, live_B)
            stopped_B[row_B[eos_B]] = True
            if not ignore_eos:
                length_B[row_B[eos_B]] = t + 1
                live_B = live_B & ~eos_B
            live_B = live_B & (limit_B[row_B] > t + 1)
            live = int(live_B.sum())
            if live == 0:
                break
            if len(row_B) - live >= COMPACT_SHARE * len(row_B):
                keep = live_B.nonzero()[:, 0]
                decoding.keep(keep)
                next_B, row_B, live_B = next_B[keep], row_B[keep], live_B[keep]
            logits_BV = decoding.step(next_B)
        return _completions(out_token_BT, out_logp_BT, length_B, stopped_B)

    def _other_ends(self, ends: Ends, token_BT: Tensor, row_B: Tensor, live_B: Tensor) -> Tensor:
        """Which live rows end with their last token, EOS apart."""
        found_B = torch.zeros_like(live_B)
        last = token_BT[row_B, -1].tolist()
        for i, live in enumerate(live_B.tolist()):
            if live and last[i] in ends.may_end:
                found_B[i] = ends.reached(tuple(token_BT[row_B[i], -ends.window :].tolist()))
        return found_B


def _even_parts(order: list[int], most: int) -> Iterator[list[int]]:
    """Consecutive parts of `most` at most, as few and as even as can be."""
    parts = -(-len(order) // most)
    for i in range(parts):
        yield order[i * len(order) // parts : (i + 1) * len(order) // parts]


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
