"""Short loops over one engine."""
