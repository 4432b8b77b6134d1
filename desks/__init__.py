"""The helpdesks: how a decision is put into words and delivered."""
