"""Programs that measure instead of train."""
