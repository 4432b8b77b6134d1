"""The decision: pure functions over frozen values, and what the customer is told."""
