"""What partners answer, read in their standards."""
