"""The state of orders and requests: inbox, decisions, changelog, effects, stock, audit, what is read of them."""
