"""Small decoders in a stock transformers architecture (Qwen2, Llama), from scratch or a folder."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rl.models.byte_tokenizer import ByteTokenizer
from rl.models.tokenizer import Tokenizer

Decoder = PreTrainedModel
ARCHITECTURES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}
MAX_POSITIONS = 512


def new_decoder(
    tokenizer: Tokenizer | ByteTokenizer,
    *,
    architecture: str,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    intermediate_size: int,
    tie_embeddings: bool,
    seed: int,
) -> Decoder:
    """A randomly initialised decoder in fp32; the same seed gives the same weights."""
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=tokenizer.size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate_size,
        tie_word_embeddings=tie_embeddings,
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=tokenizer.pad_id,
        eos_token_id=tokenizer.eos_id,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Decoder = model_class(config)  # type: ignore[no-untyped-call]
    return model


def save_decoder(model: Decoder, tokenizer: Tokenizer | ByteTokenizer, directory: Path) -> None:
    """Write weights (safetensors), config and tokenizer in the hub's folder layout."""
    model.save_pretrained(directory)
    tokenizer.save(directory)


def load_decoder(directory: Path, *, dtype: torch.dtype | None = None) -> Decoder:
    """Read a decoder from a folder in the hub's layout, in `dtype`, or as it was written; nothing
    is downloaded, and no code is run that stands beside the weights."""
    model: Decoder = AutoModelForCausalLM.from_pretrained(
        directory,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="sdpa",
        dtype="auto" if dtype is None else dtype,
    )
    return model


def count_parameters(model: Decoder) -> int:
    """Number of weights, tied ones once."""
    return sum(p.numel() for p in model.parameters())
