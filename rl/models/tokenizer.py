"""One token a character, in the file format of a stock fast tokenizer."""

from pathlib import Path

from tokenizers import Regex, Tokenizer as FastTokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from rl.models.ends import Ends

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


class Tokenizer:
    """Characters to ids and back. Padding and EOS are tokens of their own, never text."""

    ends: Ends | None = None  # EOS alone ends a response

    def __init__(self, alphabet: str) -> None:
        """Build for the distinct characters of `alphabet`, in their order."""
        if len(set(alphabet)) != len(alphabet):
            raise ValueError(f"alphabet: expected distinct characters, got {alphabet!r}")
        vocabulary = {token: i for i, token in enumerate([PAD, EOS, UNKNOWN, *alphabet])}
        self._ids = {c: vocabulary[c] for c in alphabet}
        self._names = {i: token for token, i in vocabulary.items()}
        self._vocabulary = vocabulary
        self.pad_id = vocabulary[PAD]
        self.eos_id = vocabulary[EOS]
        self.size = len(vocabulary)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of every character.

        Raises:
            ValueError: a character outside the alphabet.
        """
        unknown = sorted(set(text) - set(self._ids))
        if unknown:
            raise ValueError(f"characters outside the alphabet: {unknown}")
        return tuple(self._ids[c] for c in text)

    def decode(self, ids: tuple[int, ...]) -> str:
        """Text of the ids, less one closing EOS. Any other special token stays visible by its
        name, so that no verifier takes a text with one in it for right."""
        body = ids[:-1] if ids and ids[-1] == self.eos_id else ids
        return "".join(self._names[i] for i in body)

    def save(self, directory: Path) -> None:
        """Write it as a stock tokenizer, so that other engines read the same model folder."""
        fast = FastTokenizer(WordLevel(self._vocabulary, unk_token=UNKNOWN))
        fast.pre_tokenizer = Split(Regex("."), behavior="isolated")
        fast.decoder = Fuse()
        stock = PreTrainedTokenizerFast(
            tokenizer_object=fast, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN
        )
        stock.save_pretrained(directory)
