"""Random numbers that depend on what they are for, never on a clock or on what was drawn before.

A stream is named, and its place in it is a tuple of integers such as (run seed, step, problem,
sample). A run that is killed and resumed, or that samples its batch in another order, therefore
draws the same numbers.
"""

import hashlib
import json
import operator
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64


def derive(stream: str, *parts: int) -> int:
    """A 63-bit seed: the top bits of blake2b(json([stream, *parts])), never negative.

    JSON keeps the parts apart, so ("a", 1, 23) and ("a", 12, 3) differ; 63 bits fit a signed
    64-bit integer, which torch and numpy both take.

    Raises:
        TypeError: a part that is not an integer (a float would merge neighbours in silence).
    """
    encoded = json.dumps([stream, *(int(operator.index(part)) for part in parts)]).encode()
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big") >> 1


def uniforms(seeds: Sequence[int], count: int) -> Float64[np.ndarray, "N count"]:
    """Uniform numbers in [0, 1), one row a seed.

    Row i is the start of the Philox4x64 stream with key (seeds[i], 0) and counter 0 (Salmon et
    al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), 53 bits a number. It depends on
    seeds[i] alone, and its first k numbers do not depend on `count`.

    Returns:
        float64 [N, count], N = len(seeds).

    Raises:
        ValueError: a negative count, or a seed outside [0, 2**64).
    """
    if count < 0:
        raise ValueError(f"uniforms: expected count >= 0, got {count}")
    for seed in seeds:
        if not 0 <= seed < 2**64:
            raise ValueError(f"uniforms: expected seeds in [0, 2**64), got {seed}")
    drawn = np.empty((len(seeds), count), dtype=np.float64)
    # One generator is moved from stream to stream: making one asks the system for entropy first.
    philox = np.random.Philox(key=0)
    generator = np.random.Generator(philox)
    start = philox.state
    for row, seed in zip(drawn, seeds, strict=True):
        start["state"]["key"][0] = seed
        philox.state = start
        generator.random(out=row)
    return drawn
