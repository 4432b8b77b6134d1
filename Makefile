# Countermand's own targets. Each does all the set-up it needs.
.DEFAULT_GOAL := help
.PHONY: help setup demo test interleavings figures model mutations chaos flood bulk fuzz judge bench lint types up specs migration lock
.PHONY: clean

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
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

interleavings: setup ## Run every interleaving of the races, also of those that have thousands (minutes)
	COUNTERMAND_ALL_INTERLEAVINGS=1 $(BIN)/pytest -n 2 -rP -o faulthandler_timeout=0 tests/race -k 'interleavings or against_export' $(ARGS)

figures: setup ## Run the races and the crashes as `make test` does, and write how many into docs/guarantees.md (minutes)
	COUNTERMAND_WRITE_FIGURES=1 $(BIN)/pytest -n 2 -q tests/race \
	    -k 'interleavings or against_export or crash_table or test_kill' $(ARGS)

# Another seed each time; a failure prints the shortest history that fails, and SEED=… does the same again.
model: EXAMPLES ?= 2000
model: SEED ?= $(shell date +%s)
model: setup ## Play EXAMPLES=2000 made-up histories on the database and on a model of the contract (minutes)
	COUNTERMAND_MODEL_EXAMPLES=$(EXAMPLES) COUNTERMAND_MODEL_SEED=$(SEED) \
	    $(BIN)/pytest -n 0 -rP -o faulthandler_timeout=0 tests/race/test_model.py $(ARGS)

mutations: setup ## Take locks, guards and constraints away one by one, and see the tests notice (minutes)
	$(BIN)/python -m tests.race.mutations $(ARGS)

# Another seed each time; the ledger names it.
chaos: MINUTES ?= 5
chaos: SEED ?= $(shell date +%s)
chaos: setup ## Kill, stop and cut everything under load for MINUTES=5, and compare the books
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

flood: REQUESTS ?= 200000
flood: setup ## Publish REQUESTS=200000 at once, and see that nothing but the broker grows with them (minutes)
	$(BIN)/python -m tests.chaos.flood --requests $(REQUESTS) $(ARGS)

bulk: REQUESTS ?= 100000
bulk: setup ## Reprocess REQUESTS=100000 parked ones beside live traffic, kill that in the middle, go on (minutes)
	$(BIN)/python -m tests.chaos.bulk --requests $(REQUESTS) $(ARGS)

bench: setup ## Measure against pgbench and a naive worker (minutes)
	$(BIN)/python -m benchmarks $(ARGS)

# Another seed each time; a failure prints it, and SEED=… does the same again.
fuzz: TRIES ?= 100000
fuzz: SEED ?= $(shell date +%s)
fuzz: setup ## Throw damaged webhooks at the application, TRIES=100000 of them
	COUNTERMAND_FUZZ_TRIES=$(TRIES) COUNTERMAND_FUZZ_SEED=$(SEED) \
	    $(BIN)/pytest -n 2 -o faulthandler_timeout=0 tests/integration/test_webhook_fuzz.py $(ARGS)

judge: EXAMPLES ?= 2000
judge: setup ## Make EXAMPLES=2000 interchanges for each kind of partner, and let others judge them (minutes)
	COUNTERMAND_EXAMPLES=$(EXAMPLES) \
	    $(BIN)/pytest -n 2 -o faulthandler_timeout=0 tests/unit/test_documents_judged.py -k hypothesis $(ARGS)

lint: setup ## Check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: setup ## Check types
	$(BIN)/mypy

specs: setup ## Write asyncapi.yaml and openapi.json anew, from the models
	$(BIN)/python -m tools.specs.files

migration: setup ## Draft the next migration beside a running `countermand up`: make migration WHAT='orders have a colour'
	$(if $(WHAT),,$(error say what it does: make migration WHAT='orders have a colour'))
	@$(BIN)/python -c 'import sys; \
		from database.migrate import draft; from database.transactions import in_transaction; \
		from workers.discovery import find_database; \
		find_database(); print(in_transaction(lambda connection: draft(connection, sys.argv[1])))' "$(WHAT)"

lock: setup ## Resolve the dependencies anew into the two lock files
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    pyproject.toml --group pyproject.toml:dev -o requirements-dev.lock

clean: ## Remove what the targets made (not ./var, where `countermand up` keeps its data)
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
