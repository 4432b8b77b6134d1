# Countermand's own targets. Each does all the set-up it needs.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types up lock clean

PYTHON ?= python3
BIN := .venv/bin

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1@\2/' | column -t -s @ 2>/dev/null \
	|| grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

setup: .venv/.ready ## Make .venv with the locked dependencies

# The stamp is newer than everything it was made from; a half-made .venv has none and is made again.
.venv/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "countermand needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there). Set another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	|| { echo "countermand needs Python's venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Let change requests race the EDI export on throw-away services, and show the proof
	$(BIN)/countermand demo $(ARGS)

up: setup ## Run everything in the foreground, on embedded services kept in ./var
	$(BIN)/countermand up $(ARGS)

test: setup lint types ## Run every test, the linters and the type checker
	$(BIN)/pytest -n 2 $(ARGS)

lint: setup ## Check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: setup ## Check types
	$(BIN)/mypy

lock: setup ## Resolve the dependencies anew into the two lock files
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    pyproject.toml --group pyproject.toml:dev -o requirements-dev.lock

clean: ## Remove what the targets made (not ./var, where `countermand up` keeps its data)
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
