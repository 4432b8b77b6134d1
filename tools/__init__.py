"""What makes files of the project; no part of the product."""
