"""Qwen2 and Llama decoders with fewer, larger operations: the same function of the same weights.

Query, key and value come from one product, gate and up from another; the scales of the norms are
multiplied into the weights that read them; rotary positions are one complex product, for which the
channels of queries and keys are put in pairs. Sums run in another order than in transformers, so
that results differ from its own in the last bits.

Axis letters: B rows, T tokens, V vocabulary, C channels, N heads, K key-value heads, D channels a
head, L layers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention, silu
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM
from transformers.modeling_outputs import CausalLMOutput

# (layer, queries B,T,N,D, keys B,T,K,D, values B,T,K,D) -> B,T,N,D
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Layer(NamedTuple):
    """Weights of one block, (in, out)."""

    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    gate_up: Tensor
    down: Tensor


def can_fuse(model: nn.Module) -> bool:
    """Whether `Fused` computes what `model` does: plain Qwen2 or Llama in float32."""
    if not isinstance(model, Qwen2ForCausalLM | LlamaForCausalLM) or model.dtype != torch.float32:
        return False
    config: Any = model.config
    blocks: Any = model.model.layers
    return (
        bool(config.hidden_act == "silu")
        and config.rope_parameters["rope_type"] == "default"
        and not getattr(config, "use_sliding_window", False)
        and not getattr(config, "mlp_bias", False)
        and all(block.self_attn.o_proj.bias is None for block in blocks)
    )


class Fused:
    """The weights of a decoder as they are now, laid out anew; autograd goes through to them."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises ValueError where `can_fuse` says no."""
        if not can_fuse(model):
            raise ValueError(f"{type(model).__name__}: expected a plain Qwen2 or Llama in float32")
        whole: Any = model  # its modules are not typed
        config, base = whole.config, whole.model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_size: int = base.layers[0].self_attn.head_dim
        self._eps: float = config.rms_norm_eps
        self._embedding: Tensor = base.embed_tokens.weight
        self._pad: int | None = base.embed_tokens.padding_idx
        self._frequency_D: Tensor = base.rotary_emb.inv_freq
        self._norm_weight: Tensor = base.norm.weight
        self._head = (whole.lm_head.weight * base.norm.weight).t()
        self.layers = [self._layer(block) for block in base.layers]

    def _layer(self, block: Any) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        linears = attention.q_proj, attention.k_proj, attention.v_proj
        weights = [linear.weight for linear in linears]
        bias = None
        if linears[0].bias is not None:
            query, key, value = (linear.bias for linear in linears)
            bias = torch.cat([self._paired(query), self._paired(key), value])
        qkv = torch.cat([self._paired(weights[0]), self._paired(weights[1]), weights[2]])
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return Layer(
            qkv=(qkv * block.input_layernorm.weight).t(),
            qkv_bias=bias,
            out=attention.o_proj.weight.t(),
            gate_up=(gate_up * block.post_attention_layernorm.weight).t(),
            down=mlp.down_proj.weight.t(),
        )

    def _paired(self, weight: Tensor) -> Tensor:
        """Channels d and d + D/2 of each head, which rotate together, side by side."""
        halves: Tensor = weight.unflatten(0, (-1, 2, self.head_size // 2))
        return halves.transpose(1, 2).reshape(weight.shape)

    def hidden(self, token_BT: Tensor, position_T: Tensor, attend: Attend) -> Tensor:
        """Last hidden states (B, T, C) of tokens, before norm and head.

        Positions are one row for all (T) or each its own (B, T).
        """
        rows, width = token_BT.shape
        heads = self.heads + 2 * self.kv_heads
        angle_TD = position_T[..., None] * self._frequency_D
        turn_T1D = torch.polar(torch.ones_like(angle_TD), angle_TD)[..., None, :]
        x = embedding(token_BT, self._embedding, self._pad).flatten(0, 1)
        for i, layer in enumerate(self.layers):
            y = (
                self._norm(x) @ layer.qkv
                if layer.qkv_bias is None
                else torch.addmm(layer.qkv_bias, self._norm(x), layer.qkv)
            )
            qkv = y.view(rows, width, heads, self.head_size)
            qk, value = qkv.split((heads - self.kv_heads, self.kv_heads), dim=2)
            pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)))
            query, key = (
                torch.view_as_real(pairs * turn_T1D)
                .flatten(-2)
                .split((self.heads, self.kv_heads), dim=2)
            )
            mixed = attend(i, query, key, value).reshape(rows * width, -1)
            x = torch.addmm(x, mixed, layer.out)
            gate, up = (self._norm(x) @ layer.gate_up).chunk(2, dim=-1)
            x = torch.addmm(x, silu(gate) * up, layer.down)
        return x.view(rows, width, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of last hidden states (..., C)."""
        logits: Tensor = self._norm(hidden) @ self._head
        return logits

    def states(self, hidden: Tensor) -> Tensor:
        """Last hidden states (..., C) after the norm, as any other head reads them."""
        return self._norm(hidden) * self._norm_weight

    def _norm(self, x: Tensor) -> Tensor:
        normed: Tensor = _Norm.apply(x, self._eps)  # type: ignore[no-untyped-call]
        return normed


class _Norm(torch.autograd.Function):
    """y = x / sqrt(mean(x^2) + eps) over the channels, without a scale (RMSNorm, 1910.07467).

    Backward: dx = (dy - y mean(dy y)) / sqrt(mean(x^2) + eps), in half as many passes over memory
    as autograd takes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        y, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(dy, y)[..., None] / y.shape[-1]
        return torch.addcmul(dy, y, along, value=-1).mul_(inverse), None


class FusedDecoder(nn.Module):
    """A decoder to be trained: `Fused` where that can be and is wanted, else as transformers
    computes it.

    `share_prompts` computes a prompt once for all rows that have it.
    """

    def __init__(self, model: PreTrainedModel, *, fuse: bool = True) -> None:
        super().__init__()
        self.model = model
        self.share_prompts = True
        self._fuse = fuse

    def forward(
        self,
        input_ids: Tensor,
        prompt_lengths: Tensor | None = None,
        use_cache: bool = False,
        states: bool = False,
    ) -> CausalLMOutput:
        """Logits of right-padded tokens (B, T); nothing is cached.

        Args:
            input_ids: tokens (B, T), padded on the right.
            prompt_lengths: (B), 1 or more. Given, the logits are those from each row's last
                prompt token on, (B, 1 + R, V) where R is the longest response, and rows with the
                same prompt share what is computed of it.
            use_cache: not here; False.
            states: give what the output layer reads as well, for another head.

        Returns:
            Logits (B, T, V) or (B, 1 + R, V), and with `states` (B, T, C) or (B, 1 + R, C) as the
            only one of `hidden_states`; anything where the padding is.
        """
        if use_cache:
            raise ValueError("use_cache: a decoder in training keeps no cache")
        if not (self._fuse and can_fuse(self.model)):
            asked = {"output_hidden_states": True} if states else {}
            plain: Any = self.model(input_ids=input_ids, use_cache=False, **asked)
            found = [plain.logits, *((plain.hidden_states[-1],) if states else ())]
            if prompt_lengths is not None:
                found = [from_prompt_end(x, prompt_lengths) for x in found]
            return CausalLMOutput(logits=found[0], hidden_states=tuple(found[1:]) or None)
        fused = Fused(self.model)
        if prompt_lengths is not None and self.share_prompts:
            hidden_BTC = _shared_prompts(fused, input_ids, prompt_lengths)
        else:
            position_T = torch.arange(input_ids.shape[1], device=input_ids.device)
            hidden_BTC = fused.hidden(input_ids, position_T, causal)
            if prompt_lengths is not None:
                hidden_BTC = from_prompt_end(hidden_BTC, prompt_lengths)
        return CausalLMOutput(
            logits=fused.logits(hidden_BTC),  # type: ignore[arg-type]
            hidden_states=(fused.states(hidden_BTC),) if states else None,  # type: ignore[arg-type]
        )


def from_prompt_end(x_BT: Tensor, prompt_B: Tensor) -> Tensor:
    """Of values (B, T, ...) those from each row's last prompt token on, (B, 1 + R, ...), where
    R = T less the shortest prompt; what would lie beyond T repeats the last."""
    width = x_BT.shape[1]
    offset_R = torch.arange(width - int(prompt_B.min()) + 1, device=x_BT.device)
    place_BR = (prompt_B[:, None] - 1 + offset_R).clamp(max=width - 1)
    return x_BT[torch.arange(len(x_BT), device=x_BT.device)[:, None], place_BR]


def _shared_prompts(fused: Fused, token_BT: Tensor, prompt_B: Tensor) -> Tensor:
    """Last hidden states from each row's last prompt token on, (B, 1 + R, C).

    Each prompt but for its last token is computed once (U of them, W tokens at most); a row is
    its last prompt token and its response, which attend to the prompt's keys and values.
    """
    device, rows = token_BT.device, len(token_BT)
    tail_BR = from_prompt_end(token_BT, prompt_B)
    width = max(1, int(prompt_B.max()) - 1)
    place_W = torch.arange(width, device=device)
    head_BW = token_BT[:, :width].masked_fill(place_W >= prompt_B[:, None] - 1, -1)
    head_UW, group_B = torch.unique(head_BW, dim=0, return_inverse=True)
    length_B = prompt_B - 1
    position_BR = length_B[:, None] + torch.arange(tail_BR.shape[1], device=device)
    heads = head_UW.numel()
    token_1N = torch.cat([head_UW.clamp(min=0).flatten(), tail_BR.flatten()])[None]
    position_1N = torch.cat([place_W.repeat(len(head_UW)), position_BR.flatten()])[None]
    seen_BW = place_W < length_B[:, None]
    causal_RR = torch.ones(tail_BR.shape[1], tail_BR.shape[1], dtype=torch.bool, device=device)
    mask_BRS = torch.cat(
        [
            seen_BW[:, None].expand(-1, tail_BR.shape[1], -1),
            causal_RR.tril().expand(rows, -1, -1),
        ],
        dim=2,
    )

    def attend(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        head = [x[0, :heads].unflatten(0, head_UW.shape) for x in (query, key, value)]
        query, key, value = (x[0, heads:].unflatten(0, tail_BR.shape) for x in (query, key, value))
        key = torch.cat([head[1][group_B], key], dim=1)
        value = torch.cat([head[2][group_B], value], dim=1)
        mixed = _attention(query, key, value, attn_mask=mask_BRS[:, None])
        return torch.cat([causal(0, *head).flatten(0, 1), mixed.flatten(0, 1)])

    hidden_1NC = fused.hidden(token_1N, position_1N, attend)
    found: Tensor = hidden_1NC[0, heads:].unflatten(0, tail_BR.shape)
    return found


def causal(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """An Attend: each token attends to itself and what stands before it."""
    return _attention(query, key, value, is_causal=True)


def _attention(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
    """PyTorch's attention for (B, T, heads, D)."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    mixed = scaled_dot_product_attention(query, key, value, enable_gqa=grouped, **how)
    return mixed.transpose(1, 2)
