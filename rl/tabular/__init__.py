"""Tabular policies: language models so small that every expectation is known exactly."""
