"""What a run needs: memory and time, worked out from its settings alone.

Arithmetic on shapes, no measurement. Time is the larger of what the arithmetic, the memory and the
starting of kernels take, at stated shares of a device's peaks (`Device`); it says what order a run
is of, not what a clock will show. Axis letters: L layers, H hidden size, V vocabulary, T tokens.
"""

from dataclasses import dataclass

FP32, BF16 = 4, 2  # bytes a number
MOMENTS = 2  # of AdamW, fp32 each
KERNELS = 15  # started by a layer's forward pass, less than this where they are fused


@dataclass(frozen=True)
class Shape:
    """A decoder of stock architecture: grouped-query attention and a gated MLP (Qwen2, Llama)."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    tied: bool
    biases: bool  # of queries, keys and values: Qwen2 has them, Llama has not

    @property
    def kv_size(self) -> int:
        """Numbers in the keys of one token and layer, and as many in its values."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer."""
        attention = 2 * self.hidden * (self.hidden + self.kv_size)
        biases = (self.hidden + 2 * self.kv_size) * self.biases
        return attention + biases + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, tied ones once."""
        tables = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return tables + self.layers * self.layer_parameters + self.hidden

    def forward_flop(self, context: float) -> float:
        """FLOP of one token's forward pass, its logits and attention over `context` tokens
        included: two a weight that is multiplied, 4 H a layer and token looked back on
        (2001.08361, section 2.1)."""
        products = self.layers * self.layer_parameters + self.vocabulary * self.hidden
        return 2.0 * products + 4.0 * self.layers * self.hidden * context


@dataclass(frozen=True)
class Device:
    """Peaks, and the shares of them that are counted on."""

    name: str
    memory: float  # bytes
    flops: dict[int, float]  # dense products a second, by bytes a number
    bandwidth: float  # bytes a second
    trains: float  # share of `flops` in training
    decodes: float  # share of `flops` in sampling, where arithmetic is what bounds it
    moves: float  # share of `bandwidth` in sampling, where memory is
    starts: float  # seconds to start a kernel


def weight_bytes(size: int, *, trains: bool) -> int:
    """Bytes that one weight of `size` bytes takes: itself; where it trains its gradient and
    AdamW's moments too, and below fp32 the master copy that the optimiser steps."""
    return (2 * size + 4 * MOMENTS + (0 if size == FP32 else FP32)) if trains else size


def training_bytes(parameters: int, *, size: int, zero_stage: int, ranks: int) -> float:
    """Bytes of weights, gradients and optimiser state on each rank (1910.02054, figure 1): stage 1
    divides the optimiser's over the ranks, stage 2 the gradients too, stage 3 all."""
    weights, gradients = float(size), float(size)
    optimiser = float(weight_bytes(size, trains=True)) - weights - gradients
    optimiser /= ranks if zero_stage >= 1 else 1
    gradients /= ranks if zero_stage >= 2 else 1
    weights /= ranks if zero_stage >= 3 else 1
    return parameters * (weights + gradients + optimiser)


def activation_bytes(shape: Shape, *, tokens: int, size: int, checkpointing: bool) -> float:
    """Bytes that a micro-batch of `tokens` leaves for its backward pass.

    Of a layer 6 H + 3 I numbers a token (rl.trainers.parts); with `checkpointing` H of each layer,
    and one layer whole. Of the logits four in fp32: divided by the temperature, their log-softmax,
    and the gradients of both; below fp32 the model's own and their gradient as well.
    """
    layer = 6 * shape.hidden + 3 * shape.intermediate
    numbers = shape.layers * shape.hidden + layer if checkpointing else shape.layers * layer
    logit = 4 * FP32 + (0 if size == FP32 else 2 * size)
    return tokens * (numbers * float(size) + float(logit) * shape.vocabulary)


def cache_bytes(shape: Shape, *, tokens: int, size: int) -> float:
    """Bytes of keys and values of `tokens`."""
    return 2.0 * shape.layers * shape.kv_size * tokens * size


def training_seconds(
    shape: Shape, device: Device, *, tokens: float, context: float, size: int
) -> float:
    """Seconds of forward passes' worth of training work on `tokens`; an update is three, since a
    backward pass is two."""
    return tokens * shape.forward_flop(context) / (device.flops[size] * device.trains)


def sampling_seconds(
    shape: Shape, device: Device, *, rows: float, at_once: float, prompt: int, new: int, size: int
) -> float:
    """Seconds to sample `new` tokens after `prompt` in each of `rows`, `at_once` at a time.

    A step of decoding reads all weights and the rows' cache, or starts its kernels, or multiplies,
    whichever takes longest.
    """
    if not rows:
        return 0.0
    at_once = min(rows, at_once)
    context = prompt + new / 2
    read = shape.parameters * size + at_once * cache_bytes(shape, tokens=1, size=size) * context
    step = max(
        at_once * shape.forward_flop(context) / (device.flops[size] * device.decodes),
        read / (device.bandwidth * device.moves),
        KERNELS * shape.layers * device.starts,
    )
    prompts = rows * prompt * shape.forward_flop(prompt / 2) / (device.flops[size] * device.trains)
    return rows / at_once * new * step + prompts
