"""What we take and answer, described for other systems: AsyncAPI for the brokers, OpenAPI for HTTP.

Both are made from the models and constants of the code; `make specs` writes them to the top level.
"""
