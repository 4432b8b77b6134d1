"""The ways to a partner."""
