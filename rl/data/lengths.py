"""What length alone says about a preference: the rules that a reward model has to beat."""

from collections.abc import Iterable
from dataclasses import dataclass

from rl.types import Preference


@dataclass(frozen=True)
class LengthRules:
    """Pairs whose chosen response is the longer, the shorter, or as long as the other."""

    longer: int
    shorter: int
    ties: int

    @property
    def longer_is_better(self) -> float:
        """Accuracy of that rule among the pairs that are not tied; 1 less it is the other's.

        Raises:
            ValueError: every pair is tied.
        """
        if not self.longer + self.shorter:
            raise ValueError("expected a pair whose responses differ in length, got ties only")
        return self.longer / (self.longer + self.shorter)

    @property
    def shorter_is_better(self) -> float:
        """Accuracy of the opposite rule among the same pairs."""
        return 1 - self.longer_is_better

    @property
    def better_rule_with_ties(self) -> float:
        """Accuracy of the better rule over all pairs, a coin thrown for ties.

        Raises:
            ValueError: no pairs.
        """
        count = self.longer + self.shorter + self.ties
        if not count:
            raise ValueError("expected pairs, got none")
        return (max(self.longer, self.shorter) + self.ties / 2) / count


def length_rules(preferences: Iterable[Preference]) -> LengthRules:
    """Count them. Length is in characters, without white space at the ends."""
    gaps = [len(pair.chosen.strip()) - len(pair.rejected.strip()) for pair in preferences]
    return LengthRules(
        longer=sum(gap > 0 for gap in gaps),
        shorter=sum(gap < 0 for gap in gaps),
        ties=sum(gap == 0 for gap in gaps),
    )
