# ccobs-ops. Needs python3 (3.11, 3.12 or 3.13) and make, nothing else.
#
#   make demo    a small estate of real servers, one nightly validation through Dagster, what it proved
#   make ui      the Dagster UI on the same instance, http://127.0.0.1:3000
#   make test    every test          make check   ruff and the type checker
#   make bench   figures, side by side with other tools        make soak   many seeded validations
#   make clean   end the lab, remove what was made
#
# PYTHON=/path/to/python3.12 chooses the interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAB := .lab
UI_PORT ?= 3000
TESTS ?=
WORKERS ?= 3

.PHONY: help setup demo ui test check bench soak clean

help:
	@sed -n '2,11s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@./scripts/setup.sh "$(VENV)"
	@touch $@

demo: setup
	@$(BIN)/ccobs-ops demo --dir $(LAB)

ui: setup
	@$(BIN)/ccobs-ops demo --dir $(LAB) --ui --port $(UI_PORT)

# files in the order that tests/conftest.py gives them
test: setup
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright

bench: setup
	@$(BIN)/python -m bench.postgres

soak: setup
	@CCOBS_SWEEP=60 $(BIN)/python -m pytest tests/integration/test_postgres_bitflips.py tests/integration/test_postgres_crashes.py --timeout 3600
	@$(BIN)/python -m bench.validations --runs 50 --seed 1

clean:
	@if [ -x $(BIN)/ccobs-ops ] && [ -d $(LAB) ]; then $(BIN)/ccobs-ops lab down --dir $(LAB); fi
	@rm -rf $(LAB) $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
