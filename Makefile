# Every target does its own set-up: all that is needed is make and Python 3.11 or newer.
#   make PYTHON=python3.12 ...   takes another Python

PYTHON ?= python3
HTTP_PORT ?= 8000
AWS_PORT ?= 4566
DATA ?=
STAGE ?=
TESTS ?= tests

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help local test package provision clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

local: $(READY) ## Run the whole app on this machine (HTTP_PORT=8000 AWS_PORT=4566 DATA=folder)
	@HTTP_PORT='$(HTTP_PORT)' AWS_PORT='$(AWS_PORT)' DATA='$(DATA)' exec $(BIN)/python -m localcloud

test: $(READY) ## Check and test everything (TESTS=tests/unit for a part)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/mypy
	@exec $(BIN)/python -m pytest $(TESTS)

package: $(READY) ## Write the SAM template and the code of a stage to build/ (STAGE=prod)
	@exec $(BIN)/python -m infrastructure.package --stage '$(or $(STAGE),$(error Which stage? make package STAGE=prod))'

provision: $(READY) ## Make a stage's tables, for chalice deploy (STAGE=dev)
	@exec $(BIN)/python -m infrastructure.provision --stage '$(or $(STAGE),$(error Which stage? make provision STAGE=dev))'

clean: ## Remove all that was made here, the virtualenv too
	rm -rf $(VENV) build .chalice/deployments .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt requirements-dev.txt tools/venv.py
	@$(PYTHON) tools/venv.py $(VENV) requirements-dev.txt
	@touch $@
