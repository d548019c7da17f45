"""What is said of a metric."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One documented metric.

    `exact`: by enumeration or in closed form, with nothing drawn: an enumeration claim may be made
    on it. `also`: other programs that log it, in the same meaning.
    """

    program: str
    meaning: str
    level: str | None = None
    exact: bool = False
    also: tuple[str, ...] = ()

    @property
    def programs(self) -> tuple[str, ...]:
        """All that log it."""
        return (self.program, *self.also)
