"""The decision: pure functions over frozen values."""
