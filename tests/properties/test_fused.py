"""Fused decoders against transformers' own, over architectures, shapes, prompts and compaction."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from rl.logprobs import token_logps
from rl.models import Decoder, FusedDecoder, from_prompt_end, new_decoder
from rl.models.fused import Fused, _Norm, can_fuse
from rl.rollout.decoding import Decoding, FusedDecoding, PlainDecoding
from tests.tiny import tokenizer

TOKENS = tokenizer()
TOKEN = st.integers(0, TOKENS.size - 1)
# Weights this large give logits of about 10; single precision keeps 6e-8 of that a sum.
TOLERANCE = 1e-5


@st.composite
def decoders(draw: st.DrawFn) -> Decoder:
    """Small decoders with weights, biases and norm scales that all matter."""
    heads = draw(st.sampled_from([1, 2, 4]))
    model = new_decoder(
        TOKENS,
        architecture=draw(st.sampled_from(["qwen2", "llama"])),
        hidden_size=heads * draw(st.sampled_from([8, 16])),
        layers=draw(st.integers(1, 3)),
        heads=heads,
        kv_heads=draw(st.sampled_from([k for k in (1, 2, 4) if heads % k == 0])),
        intermediate_size=draw(st.sampled_from([16, 40])),
        tie_embeddings=draw(st.booleans()),
        seed=0,
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def decoded(
    decoding: Decoding,
    prompts: Sequence[tuple[int, ...]],
    next_TB: Tensor,
    kept: dict[int, Tensor],
) -> list[Tensor]:
    """Logits after every call, with rows dropped before the steps of `kept`."""
    with torch.inference_mode():
        found = [decoding.start(prompts, len(next_TB))]
        row_B = torch.arange(len(prompts))
        for t, next_B in enumerate(next_TB):
            if t in kept:
                decoding.keep(kept[t])
                row_B = row_B[kept[t]]
            found.append(decoding.step(next_B[row_B]))
    return found


@settings(max_examples=40)
@given(model=decoders(), share=st.booleans(), data=st.data())
def test_decoding_is_that_of_transformers(model: Decoder, share: bool, data: st.DataObject) -> None:
    pool = data.draw(st.lists(st.lists(TOKEN, min_size=1, max_size=7), min_size=1, max_size=4))
    choice = st.sampled_from([tuple(prompt) for prompt in pool])
    prompts = data.draw(st.lists(choice, min_size=1, max_size=6))
    steps = data.draw(st.integers(1, 5))
    draws = data.draw(st.lists(TOKEN, min_size=steps * len(prompts), max_size=steps * len(prompts)))
    next_TB = torch.tensor(draws).view(steps, len(prompts))
    kept, live = {}, len(prompts)
    for t in data.draw(st.sets(st.integers(0, steps - 1), max_size=2)):
        rows = data.draw(st.sets(st.integers(0, live - 1), min_size=1))
        kept[t] = torch.tensor(sorted(rows))
        live = len(rows)
    kept = dict(zip(sorted(kept), kept.values(), strict=True))
    plain = decoded(PlainDecoding(model, TOKENS.pad_id), prompts, next_TB, kept)
    fused = FusedDecoding(model, TOKENS.pad_id, share_prompts=share)
    for _ in range(2):  # a second batch begins from nothing
        for one, two in zip(decoded(fused, prompts, next_TB, kept), plain, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=TOLERANCE)


@settings(max_examples=40)
@given(model=decoders(), data=st.data())
def test_training_is_that_of_transformers(model: Decoder, data: st.DataObject) -> None:
    """Log-probs and the gradient of a weighted sum of them."""
    rows, width = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 9))
    tokens = data.draw(st.lists(TOKEN, min_size=rows * width, max_size=rows * width))
    token_BT = torch.tensor(tokens).view(rows, width)
    weight_BT = torch.linspace(-1.0, 1.0, rows * width).view(rows, width)
    found = []
    for module in (model, FusedDecoder(model)):
        model.zero_grad()
        logits_BTV = module(input_ids=token_BT, use_cache=False).logits
        logp_BT = token_logps(logits_BTV, token_BT, temperature=1.0)
        (logp_BT * weight_BT).sum().backward()
        found.append((logp_BT.detach(), [p.grad.clone() for p in model.parameters()]))
    (plain, expected), (fused, gradients) = found
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=TOLERANCE)
    scale = max(float(gradient.abs().max()) for gradient in expected)
    assert scale > 0
    for one, two in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5 * scale)


@settings(max_examples=40)
@given(model=decoders(), data=st.data())
def test_shared_prompts_change_neither_log_probs_nor_gradients(
    model: Decoder, data: st.DataObject
) -> None:
    """Of the responses, against rows computed one by one by transformers."""
    prompts = data.draw(st.lists(st.lists(TOKEN, min_size=1, max_size=6), min_size=1, max_size=3))
    rows = data.draw(
        st.lists(
            st.tuples(st.sampled_from(prompts), st.lists(TOKEN, min_size=1, max_size=5)),
            min_size=1,
            max_size=7,
        )
    )
    width = max(len(prompt) + len(response) for prompt, response in rows)
    pad = data.draw(TOKEN)
    tokens = [[*p, *r, *[pad] * (width - len(p) - len(r))] for p, r in rows]
    token_BT, prompt_B = torch.tensor(tokens), torch.tensor([len(p) for p, _ in rows])
    unshared = FusedDecoder(model)
    unshared.share_prompts = False
    found = []
    for decoder in (FusedDecoder(model), unshared, FusedDecoder(model, fuse=False), None):
        model.zero_grad()
        logps = []
        if decoder is not None:
            logits_BRV = decoder(input_ids=token_BT, prompt_lengths=prompt_B).logits
            tail_BR = from_prompt_end(token_BT, prompt_B)
            logp_BR = token_logps(logits_BRV, tail_BR, temperature=1.0)
            logps = [logp_BR[i, 1 : 1 + len(response)] for i, (_, response) in enumerate(rows)]
        else:
            for prompt, response in rows:
                row_1T = torch.tensor([[*prompt, *response]])
                logits_1TV = model(input_ids=row_1T, use_cache=False).logits
                logps.append(token_logps(logits_1TV, row_1T, temperature=1.0)[0, len(prompt) :])
        flat = torch.cat(logps)
        (flat * torch.linspace(-1.0, 2.0, len(flat))).sum().backward()
        found.append((flat.detach(), [p.grad.clone() for p in model.parameters()]))
    (*others, (expected, gradients)) = found
    scale = max(float(gradient.abs().max()) for gradient in gradients)
    assert scale > 0
    for flat, own in others:
        torch.testing.assert_close(flat, expected, rtol=1e-5, atol=TOLERANCE)
        for one, two in zip(own, gradients, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-5 * scale)


def test_gradient_of_the_norm() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: _Norm.apply(x, 1e-6), x)


def test_what_cannot_be_fused_is_left_to_transformers() -> None:
    model = new_decoder(
        TOKENS,
        architecture="qwen2",
        hidden_size=8,
        layers=1,
        heads=1,
        kv_heads=1,
        intermediate_size=8,
        tie_embeddings=True,
        seed=0,
    )
    assert can_fuse(model)
    for name, value in (("hidden_act", "gelu"), ("use_sliding_window", True)):
        before = getattr(model.config, name)
        setattr(model.config, name, value)
        assert not can_fuse(model)
        setattr(model.config, name, before)
    model.bfloat16()
    assert not can_fuse(model)
    with pytest.raises(ValueError, match="plain Qwen2 or Llama in float32"):
        Fused(model)
    token_BT = torch.tensor([[1, 2, 3]])
    plain = model(input_ids=token_BT, use_cache=False).logits
    assert torch.equal(FusedDecoder(model)(input_ids=token_BT).logits, plain)
