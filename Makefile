# Every target sets up what it needs first. PYTHON=… chooses the interpreter, LISTEN=HOST:PORT the address of `run`,
# DATA=DIR the data directory of `run` and `stop`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
START := provision/bootstrap/start
BIN := .venv/bin
# Where a shell forbids it, every run would compile the package and its tests anew.
unexport PYTHONDONTWRITEBYTECODE
TESTS ?=

.PHONY: help run stop test unit lint check crash hil fix bench bench-store bench-memory bench-door fuzz soak docs lock clean

help: ## print this help
	@echo "Outpost: language models on this machine, with no internet. Targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## set up all that is missing, start the daemon with the starter model, print examples
	@$(START) run $(if $(LISTEN),--listen $(LISTEN)) $(if $(DATA),--data $(DATA))

stop: ## stop the daemon that `make run` started
	@$(START) stop $(if $(DATA),--data $(DATA))

test: ## run all checks and all tests: unit, integration, end to end (TESTS=… for some of them)
	@$(START) setup
	@$(MAKE) --no-print-directory lint
ifeq ($(TESTS),)
	@$(BIN)/pytest --quiet --numprocesses=auto
	@$(BIN)/pytest tests/integration -m "integration and not alone" --quiet --numprocesses=auto --maxprocesses=4 --dist=loadfile --durations=10
	@$(BIN)/pytest tests/integration tests/e2e tests/crash -m "alone or e2e or crash" --durations=25
else
	@$(BIN)/pytest -m "not bench" $(TESTS)
endif

unit: ## run the unit tests: no model, no compiler needed
	@$(START) tools
	@$(BIN)/pytest $(TESTS)

lint: ## format, lint, types, import contracts
	@$(START) tools
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint ## all of lint, and the unit tests: about a minute
	@$(BIN)/pytest --quiet --numprocesses=auto

crash: ## prove that a power cut loses nothing of the model store
	@$(START) setup
	@$(BIN)/pytest -m crash $(or $(TESTS),tests/crash)

hil: ## read the board this runs on and hold it to the contract (OUTPOST_ROOT=DIR: a captured one)
	@$(START) tools
	@$(BIN)/pytest -m hil $(or $(TESTS),hil)

fix: ## format, and repair what the linter can
	@$(START) tools
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

bench: ## measure against llama-server (ARGS=… goes to the benchmark)
	@$(START) setup
	@$(BIN)/python -m tests.bench $(ARGS)

bench-store: ## measure the model store against cp, sha256sum and curl
	@$(START) setup
	@$(BIN)/python -m tests.bench.store $(ARGS)

soak: ## 200 loads and evictions in memory for one model, then ten minutes of loads, evictions, pressure, heat and crashes (ARGS="--seconds 60")
	@$(START) setup
	@$(BIN)/python -m tests.bench.cycles
	@$(BIN)/python -m tests.bench.soak $(ARGS)

bench-door: ## 50 streams for ten minutes, and ten times too many requests for one, against a fake runner
	@$(START) setup
	@$(BIN)/python -m tests.bench.door streams --seconds 600
	@$(BIN)/python -m tests.bench.door overload --seconds 60

fuzz: ## ten thousand requests made from the OpenAPI document, against the daemon (ARGS="--requests 1000 --seed 1")
	@$(START) setup
	@$(BIN)/python -m tests.bench.fuzz $(ARGS)

bench-memory: ## predicted against measured peaks of memory: 20 loads, and 18 that no constant was set by
	@$(START) setup
	@$(BIN)/python -m tests.bench.memory_plan $(ARGS)

docs: ## write what is generated from the code: configuration, command line, OpenAPI, metrics
	@$(START) tools
	@$(BIN)/python -m appliance.config_reference
	@$(BIN)/python -m appliance.cli.manual docs/cli.md
	@$(BIN)/python -m appliance.api.openapi docs/openapi.json
	@$(BIN)/python -m appliance.telemetry.registry docs/metrics.md

lock: ## write the hash-pinned locks anew from pyproject.toml
	@$(START) lock

clean: ## remove the environment and all caches of this clone (built wheels and models stay)
	@$(START) stop
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
