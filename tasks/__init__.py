"""The Celery tasks: each opens one transaction and calls the rooms below."""
