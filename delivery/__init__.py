"""What all deliveries share: their outcomes, the lease with its fence, and the back-off after failures."""
