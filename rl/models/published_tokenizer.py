"""The tokenizer of a published checkpoint, with what this project asks of one."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer

from rl.errors import UserError
from rl.models.ends import Ends, Ids
from rl.models.published import eos_ids

UNKNOWN = "<|unknown|>"  # stands for an id that is no token: models have rows to spare


class PublishedTokenizer:
    """Any text to ids and back. Special tokens in a prompt are read as such, and one in a response
    stays visible by its name, so that no verifier takes a text with one in it for right.

    A sampler stops at one EOS, which is the first that generation_config.json lists (else
    config.json). `ends` has the others; the token that closes a turn in the chat template, with
    `chat`; and `end_text`. Where there is no padding token the EOS pads: masks come from lengths.
    """

    def __init__(
        self, folder: Path, name: str, *, chat: bool = False, end_text: str | None = None
    ) -> None:
        """Read it from a checkpoint's folder.

        Raises:
            UserError: it cannot be read, has no EOS, or, with `chat`, no chat template.
        """
        try:
            self._stock: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            why = " ".join(str(error).split())
            raise UserError(
                f"{name}: its tokenizer cannot be read ({type(error).__name__}: {why}); fetch the "
                f"checkpoint again"
            ) from None
        self.folder, self._name, self._chat = folder, name, chat
        stock = self._stock
        self.size = len(stock)
        named = {t.content for t in stock.added_tokens_decoder.values() if t.special}
        self.marks = tuple(sorted({*named, *stock.all_special_tokens, UNKNOWN}))
        listed = eos_ids(folder, name) or [i for i in [stock.eos_token_id] if i is not None]
        if not listed:
            raise UserError(
                f"{name}: no eos_token_id in generation_config.json, config.json or the tokenizer; "
                f"a response would have no end"
            )
        self.eos_id: int = listed[0]
        self.pad_id: int = self.eos_id if stock.pad_token_id is None else stock.pad_token_id
        closing = frozenset(listed[1:]) | (self._turn_ends() if chat else frozenset())
        self.ends = self._make_ends(closing - {self.eos_id}, end_text)

    def encode(self, text: str) -> Ids:
        """Ids of a prompt. A chat template writes all special tokens itself; to any other prompt
        the tokenizer adds its own, where it has some that begin a text."""
        return tuple(self._stock.encode(text, add_special_tokens=not self._chat))

    def decode(self, ids: Ids) -> str:
        """Text of the ids, less one closing EOS or other closing token."""
        closed = ids and (ids[-1] == self.eos_id or ids[-1] in self.ends.token_ids)
        return self._plain(ids[:-1] if closed else ids)

    def chat_prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """The conversation in the checkpoint's own template, up to where the response begins.

        Raises:
            UserError: there is no template, or it does not take such messages.
        """
        return self._templated(messages, prompt=True)

    def save(self, directory: Path) -> None:
        """Write it as it came."""
        self._stock.save_pretrained(directory)

    def _plain(self, ids: Ids) -> str:
        parts = []
        for known, run in groupby(ids, key=lambda i: i < self.size):
            run_ids = list(run)
            parts.append(
                self._stock.decode(run_ids, skip_special_tokens=False)
                if known
                else UNKNOWN * len(run_ids)
            )
        return "".join(parts)

    def _templated(self, messages: Sequence[dict[str, str]], *, prompt: bool) -> str:
        if not self._stock.chat_template:
            raise UserError(
                f"{self._name}: its tokenizer has no chat template; expected one with task.prompt "
                f"chat, or choose task.prompt r1_zero"
            )
        try:
            text: str = self._stock.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise UserError(
                f"{self._name}: its chat template does not take the prompt ({error}); choose "
                f"task.prompt r1_zero"
            ) from None
        return text

    def _turn_ends(self) -> frozenset[int]:
        """The special token that the template writes after an assistant's turn, if any."""
        said = "said"
        turns = [{"role": "user", "content": "asked"}, {"role": "assistant", "content": said}]
        after = self._templated(turns, prompt=False).rpartition(said)[2].lstrip()
        return frozenset(
            self._stock.convert_tokens_to_ids(mark)
            for mark in self.marks
            if mark != UNKNOWN and after.startswith(mark)
        )

    def _make_ends(self, closing: frozenset[int], text: str | None) -> Ends:
        may_end = set(closing)
        if text is not None:  # the last character is printable ASCII, which stands for itself
            may_end |= {i for token, i in self._stock.get_vocab().items() if text[-1] in token}
        return Ends(closing, text, frozenset(may_end), self._plain)
