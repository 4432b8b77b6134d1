"""Real processes and real servers, killed again and again under load; then the books are compared."""
