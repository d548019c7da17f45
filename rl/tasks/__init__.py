"""Worlds: each makes its problems and the text that a base model learns them from."""

from rl.tasks.chain_sum import ChainSum

__all__ = ["ChainSum"]
