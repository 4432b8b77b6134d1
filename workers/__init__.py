"""The processes: Celery app, intake, HTTP, embedded services, the `countermand` command."""
