"""Worlds beside the prompts of rl.tasks: episodes of many moves, played side by side, and toys
small enough to be enumerated, with their own models. Nothing here enters a base model."""

from rl.worlds.bandit import TwoStateBandit
from rl.worlds.cartpole import CartPole
from rl.worlds.early_key import EarlyKey
from rl.worlds.environment import Environment, Step, Story
from rl.worlds.grid import GridWorld
from rl.worlds.guess_number import GuessNumber, Tokens

__all__ = [
    "CartPole",
    "EarlyKey",
    "Environment",
    "GridWorld",
    "GuessNumber",
    "Step",
    "Story",
    "Tokens",
    "TwoStateBandit",
]
