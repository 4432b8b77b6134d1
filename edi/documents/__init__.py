"""What we send: orders as documents of a standard, and the interchanges that carry them."""
