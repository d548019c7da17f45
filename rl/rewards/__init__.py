"""Rewards: functions of a rollout."""

from rl.rewards.verifiable import REWARDS, RewardFunction

__all__ = ["REWARDS", "RewardFunction"]
