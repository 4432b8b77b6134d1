"""The processes: Celery app, beat, intake and brokers, embedded services, supervisor."""
