"""Worlds small enough to be enumerated, with their own models; nothing here enters a base model."""
