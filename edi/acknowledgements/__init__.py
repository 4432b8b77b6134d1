"""Partners' acknowledgements, read in each standard."""
