"""The packages of the product, from the ground floor up (docs/architecture.md)."""

ROOMS = ("rules", "configuration", "delivery", "database", "desks", "orders", "edi", "tasks", "workers", "web", "cli")
