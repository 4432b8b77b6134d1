"""The HTTP process: webhooks in, decisions to read, whether it could do its work. `python -m web`."""
