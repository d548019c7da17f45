"""What runs need, against numbers of papers and published models, and by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rl.models import Tokenizer, count_parameters, new_decoder
from rl.needs import (
    BF16,
    FP32,
    Device,
    Shape,
    activation_bytes,
    cache_bytes,
    sampling_seconds,
    training_bytes,
    training_seconds,
    weight_bytes,
)

QWEN_HALF_B = Shape(151_936, 896, 24, 14, 2, 4864, tied=True, biases=True)
QWEN_MATH = Shape(151_936, 1536, 28, 12, 2, 8960, tied=True, biases=True)
# By hand: 1 layer, H 4, I 3, V 5, all heads with keys of their own, no biases. Attention 4 * 16,
# MLP 36, two norms 8: 108 a layer; the table 20, the last norm 4.
SMALL = Shape(5, 4, 1, 2, 2, 3, tied=True, biases=False)
# 100 products a second in fp32, of which half count; 10 bytes a second, all of them.
SLOW = Device("slow", 1e9, {FP32: 100.0, BF16: 200.0}, 10.0, 0.5, 0.25, 1.0, 2.0)


def test_published_models_have_as_many_weights_as_they_say() -> None:
    assert QWEN_HALF_B.parameters == 494_032_768
    assert QWEN_MATH.parameters == 1_543_714_304


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_and_flop_are_those_of_a_real_decoder(architecture: str, tied: bool) -> None:
    model = new_decoder(
        Tokenizer("0123456789="),
        architecture=architecture,
        hidden_size=128,
        layers=3,
        heads=4,
        kv_heads=2,
        intermediate_size=192,
        tie_embeddings=tied,
        seed=0,
    )
    shape = Shape(14, 128, 3, 4, 2, 192, tied=tied, biases=architecture == "qwen2")
    assert shape.parameters == count_parameters(model)
    model.set_attn_implementation("eager")  # of the fused one on CPUs the counter knows nothing
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.ones(2, 32, dtype=torch.long), use_cache=False)
    # The counter knows of no causal mask: every token looks at all 32. Norms and biases are no
    # products to it.
    assert 64 * shape.forward_flop(32) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_small_shape_by_hand() -> None:
    assert (SMALL.kv_size, SMALL.layer_parameters, SMALL.parameters) == (4, 108, 132)
    assert SMALL.forward_flop(10) == 2 * (108 + 20) + 4 * 4 * 10


@pytest.mark.parametrize(
    ("size", "trains", "expected"), [(4, True, 16), (2, True, 16), (4, False, 4), (2, False, 2)]
)
def test_bytes_of_a_weight(size: int, trains: bool, expected: int) -> None:
    assert weight_bytes(size, trains=trains) == expected


@pytest.mark.parametrize(("stage", "gb"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_what_zero_divides_is_as_in_its_paper(stage: int, gb: float) -> None:
    """1910.02054, figure 1: 7.5 billion weights over 64 ranks, mixed precision."""
    found = training_bytes(7_500_000_000, size=BF16, zero_stage=stage, ranks=64)
    assert found / 1e9 == pytest.approx(gb, abs=0.05)


def test_activations_by_hand() -> None:
    # A layer leaves 6 * 4 + 3 * 3 = 33 numbers a token, the logits 4 * 5 in fp32 and 2 * 5 in bf16.
    assert activation_bytes(SMALL, tokens=10, size=BF16, checkpointing=False) == 10 * (66 + 100)
    deep = Shape(5, 4, 6, 2, 2, 3, tied=True, biases=False)
    assert activation_bytes(deep, tokens=10, size=FP32, checkpointing=False) == 10 * (792 + 80)
    # With checkpointing 4 numbers of each of 6 layers, and one layer whole.
    assert activation_bytes(deep, tokens=10, size=FP32, checkpointing=True) == 10 * (228 + 80)


def test_cache_of_a_published_model() -> None:
    # 24 layers, 2 heads of 64, keys and values, 2 bytes.
    assert cache_bytes(QWEN_HALF_B, tokens=1, size=BF16) == 12_288


def test_seconds_of_training_by_hand() -> None:
    # 256 + 160 FLOP a token of context 10; 50 a second.
    assert training_seconds(SMALL, SLOW, tokens=3, context=10, size=FP32) == 3 * 416 / 50
    assert training_seconds(SMALL, SLOW, tokens=3, context=10, size=BF16) == 3 * 416 / 100


def test_seconds_of_sampling_are_those_of_what_takes_longest() -> None:
    def seconds(device: Device, at_once: int) -> float:
        return sampling_seconds(SMALL, device, rows=4, at_once=at_once, prompt=2, new=16, size=FP32)

    # The prompts: 4 rows x 2 tokens x (256 + 16 * 1) FLOP at 50 a second.
    prompts = 4 * 2 * 272 / 50
    # A step at context 2 + 8: 132 weights of 4 bytes, and of 2 rows 2 * 4 * 4 * 10 bytes of cache,
    # 1,168 bytes at 10 a second. Its arithmetic takes 2 * 416 / 25 = 33 s, less.
    assert seconds(SLOW, 2) == pytest.approx(2 * 16 * 116.8 + prompts)
    assert seconds(SLOW, 100) == pytest.approx(16 * (528 + 4 * 320) / 10 + prompts)
    wide = Device("wide", 1e9, {FP32: 100.0}, 1e9, 0.5, 0.25, 1.0, 2.0)
    assert seconds(wide, 4) == pytest.approx(16 * 4 * 416 / 25 + prompts)
    quick = Device("quick", 1e9, {FP32: 1e9}, 1e9, 0.5, 0.25, 1.0, 2.0)
    assert seconds(quick, 4) == pytest.approx(16 * 15 * 2.0, rel=1e-5)
    assert sampling_seconds(SMALL, SLOW, rows=0, at_once=4, prompt=2, new=16, size=FP32) == 0
