"""The benchmark: `python -m benchmarks`. Everything in one run on one machine; what counts are the ratios."""
