"""Numbers that settings are made of."""

from typing import Annotated

from pydantic import Field

# Wider integers fit no tensor, table or log.
PositiveInt = Annotated[int, Field(gt=0, lt=2**63)]
Seed = Annotated[int, Field(gt=-(2**63), lt=2**63)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
