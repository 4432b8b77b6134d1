"""The `countermand` command."""
