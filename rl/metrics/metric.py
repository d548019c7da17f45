"""What is said of a metric."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One documented metric.

    `exact`: by enumeration or in closed form, with nothing drawn: an enumeration claim may be made
    on it.
    """

    program: str
    meaning: str
    level: str | None = None
    exact: bool = False
