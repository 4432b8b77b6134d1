"""Documents, control numbers, transports, partners."""
