"""Decoders made from scratch in stock transformers architectures."""

from rl.models.byte_tokenizer import ByteTokenizer
from rl.models.decoder import Decoder, count_parameters, load_decoder, new_decoder, save_decoder
from rl.models.fused import FusedDecoder, from_prompt_end
from rl.models.heads import RewardModel, combined
from rl.models.tokenizer import Tokenizer
from rl.models.value import ActorCritic, ScalarDecoder, scalar_head

__all__ = [
    "ActorCritic",
    "ByteTokenizer",
    "Decoder",
    "FusedDecoder",
    "RewardModel",
    "ScalarDecoder",
    "Tokenizer",
    "combined",
    "count_parameters",
    "from_prompt_end",
    "load_decoder",
    "new_decoder",
    "save_decoder",
    "scalar_head",
]
