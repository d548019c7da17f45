"""Decoders in stock transformers architectures, made from scratch or published, and tokenizers."""

from rl.models.byte_tokenizer import ByteTokenizer
from rl.models.decoder import Decoder, count_parameters, load_decoder, new_decoder, save_decoder
from rl.models.ends import Ends
from rl.models.fused import FusedDecoder, from_prompt_end
from rl.models.heads import RewardModel, combined
from rl.models.published import check_model, fetch, weights_sha256
from rl.models.published_tokenizer import PublishedTokenizer
from rl.models.tokenizer import Tokenizer
from rl.models.value import ActorCritic, ScalarDecoder, scalar_head

AnyTokenizer = Tokenizer | PublishedTokenizer  # of a policy

__all__ = [
    "ActorCritic",
    "AnyTokenizer",
    "ByteTokenizer",
    "Decoder",
    "Ends",
    "FusedDecoder",
    "PublishedTokenizer",
    "RewardModel",
    "ScalarDecoder",
    "Tokenizer",
    "check_model",
    "combined",
    "count_parameters",
    "fetch",
    "from_prompt_end",
    "load_decoder",
    "new_decoder",
    "save_decoder",
    "scalar_head",
    "weights_sha256",
]
