"""Any text, one token a byte of its UTF-8, in the file format of a stock fast tokenizer."""

from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from rl.models.tokenizer import EOS, PAD, UNKNOWN

SPECIALS = (PAD, EOS, UNKNOWN)  # as in Tokenizer, so that ids 0 and 1 mean the same everywhere
BYTES = 256


class ByteTokenizer:
    """Token 3 + b is byte b. No text is a special token: "<eos>" is five bytes."""

    pad_id, eos_id = SPECIALS.index(PAD), SPECIALS.index(EOS)
    size = len(SPECIALS) + BYTES

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of the text's bytes.

        Raises:
            UnicodeEncodeError: half a surrogate pair, which UTF-8 cannot write.
        """
        return tuple(len(SPECIALS) + byte for byte in text.encode())

    def decode(self, ids: tuple[int, ...]) -> str:
        """Text of the ids, less one closing EOS. Any other special token stays visible by its
        name. Bytes that are no UTF-8, which a model may well write, show as U+FFFD."""
        body = ids[:-1] if ids and ids[-1] == self.eos_id else ids
        return b"".join(
            SPECIALS[i].encode() if i < len(SPECIALS) else bytes([i - len(SPECIALS)]) for i in body
        ).decode(errors="replace")

    def save(self, directory: Path) -> None:
        """Write it as a stock tokenizer, so that other engines read the same model folder."""
        vocabulary = {name: i for i, name in enumerate(SPECIALS)}
        vocabulary |= {c: len(SPECIALS) + b for b, c in enumerate(_byte_letters())}
        fast = FastTokenizer(BPE(vocab=vocabulary, merges=[]))
        fast.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        fast.decoder = ByteLevelDecoder()
        stock = PreTrainedTokenizerFast(
            tokenizer_object=fast,
            pad_token=PAD,
            eos_token=EOS,
            unk_token=UNKNOWN,
            split_special_tokens=True,
        )
        stock.save_pretrained(directory)


def _byte_letters() -> list[str]:
    """The letter by which stock byte-level tokenizers write each byte: printable Latin-1 bytes
    stand for themselves, the rest for the letters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, others = [], 0
    for byte in range(BYTES):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(BYTES + others))
            others += 1
    return letters
