"""Where a response ends, beside the one EOS that every sampler knows."""

from collections.abc import Callable
from dataclasses import dataclass

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Ends:
    """A response ends with any of `token_ids`, or as soon as its text has `text` in it; either is
    part of it. Only tokens of `may_end` have to be looked at."""

    token_ids: frozenset[int]
    text: str | None
    may_end: frozenset[int]
    decode: Callable[[Ids], str]

    @property
    def window(self) -> int:
        """As many last tokens as the text can stretch over; each has a character of it."""
        return len(self.text or " ")

    def reached(self, last_ids: Ids) -> bool:
        """Whether a response whose last tokens, `window` or all, are these ends here."""
        if last_ids[-1] in self.token_ids:
            return True
        return self.text is not None and self.text in self.decode(last_ids)
