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
        """Last hidden states (B, T, C) of tokens at the positions, before norm and head."""
        rows, width = token_BT.shape
        heads = self.heads + 2 * self.kv_heads
        angle_TD = position_T[:, None] * self._frequency_D
        turn_T1D = torch.polar(torch.ones_like(angle_TD), angle_TD)[:, None]
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
    """A decoder to be trained: `Fused` where that can be, else as transformers computes it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> CausalLMOutput:
        """Logits (B, T, V) of right-padded tokens (B, T); nothing is cached."""
        if use_cache:
            raise ValueError("use_cache: a decoder in training keeps no cache")
        if not can_fuse(self.model):
            plain: CausalLMOutput = self.model(input_ids=input_ids, use_cache=False)
            return plain
        fused = Fused(self.model)
        position_T = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden_BTC = fused.hidden(input_ids, position_T, _causal)
        return CausalLMOutput(logits=fused.logits(hidden_BTC))  # type: ignore[arg-type]


def _causal(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
    return mixed.transpose(1, 2)
