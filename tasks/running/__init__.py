"""How tasks run: wake-ups and their queues, batches, the crash guard, beat's schedule, progress."""
