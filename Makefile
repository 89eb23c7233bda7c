# Every job of the workspace. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
PACKAGES := proto/fleetwatch_proto agents/fleetwatch_agent storage/fleetwatch_storage collector/fleetwatch_collector \
            alerting/fleetwatch_alerting dashboard/fleetwatch_dashboard cli/fleetwatch
GENERATE := -m grpc_tools.protoc -I proto
ARGS ?=

.PHONY: help setup dev run test check lint types format proto proto-check lock lock-check settings-page bench chaos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## a ready environment in .venv with the fleetwatch command (PYTHON=... chooses the interpreter)
	@PYTHON="$(PYTHON)" .ci/setup

dev: ## setup, and what the checks and tests need from PyPI
	@PYTHON="$(PYTHON)" .ci/setup dev

run: setup ## collector, store, alerting, dashboard and an agent for this host (ARGS="--http 127.0.0.1:8080" passes options)
	@exec $(BIN)/fleetwatch up --data-dir "$${FLEETWATCH_DATA_DIR:-data}" $(ARGS)

test: dev ## the whole test suite but the long runs (ARGS="tests/unit -k spool" narrows it)
	@.ci/system-packages
	@$(BIN)/python -m pytest -m "not long" -n "$${PYTEST_WORKERS:-2}" --dist loadfile $(ARGS)

check: lint types proto-check lock-check ## everything that reads the code without running it

lint: dev ## style, formatting, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: dev ## mypy, strict, over all seven packages
	@$(BIN)/mypy $(PACKAGES)

format: dev ## rewrites the code in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: dev ## generates the wire messages' code again
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/generate proto

proto-check: dev ## fails when the committed wire code is not what the .proto files give
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/generate "$$fresh"; \
	for file in "$$fresh"/fleetwatch_proto/v1/*; do \
	  cmp -s "$$file" "proto/fleetwatch_proto/v1/$$(basename "$$file")" \
	    || { echo "proto/fleetwatch_proto/v1/$$(basename "$$file") is not what its .proto file gives: run make proto" >&2; exit 1; }; \
	done; echo "the generated wire code is current"

lock: dev ## resolves the requirements again (UPGRADE=1 takes newer versions)
	@$(BIN)/python .ci/lock.py $(if $(UPGRADE),--upgrade)

lock-check: ## fails when a requirement changed and the lock files did not (works without a network)
	@$(BIN)/python .ci/lock.py --check

settings-page: dev ## writes docs/settings.md from the settings classes
	@$(BIN)/python -m fleetwatch.settings_page > docs/settings.md.new
	@mv docs/settings.md.new docs/settings.md

bench: dev ## the benchmarks, peers beside them; writes reports/ (ARGS="agent collector" chooses)
	@.ci/system-packages peers
	@.ci/bench $(ARGS)

chaos: dev ## the long fault runs; writes reports/
	@.ci/system-packages
	@mkdir -p reports
	@nice -n 5 $(BIN)/python -m pytest tests/chaos tests/system -m long --timeout 0 -p no:xdist -s $(ARGS) 2>&1 | tee reports/chaos.txt

clean: ## removes the environment, caches and reports; never the data folder
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks reports
	@find . -name __pycache__ -not -path './data/*' -prune -exec rm -rf {} +
