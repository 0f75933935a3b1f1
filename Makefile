# Every target does its own set-up: all that is needed is make and Python 3.11 or newer.
#   make PYTHON=python3.12 ...   takes another Python

PYTHON ?= python3
HTTP_PORT ?= 8000
AWS_PORT ?= 4566
DATA ?=
STAGE ?=
STACK ?=
SEGMENTS ?=
REPAIR ?=
CLIENTS ?= 8
SECONDS ?= 60
KILL ?=
TESTS ?= tests
UPGRADE ?=
SCHEDULES ?=
KIND ?=
SEED ?=
JOBS ?= 2
BROWSER ?=

VENV := .venv
# Two marks for one virtual environment: what it takes to run the app, and with tests and checks on top.
READY := $(VENV)/.ready-local
TESTED := $(VENV)/.ready-dev
BIN := $(VENV)/bin
TOOLS := build/tools
LINT := $(BIN)/ruff check --quiet && $(BIN)/ruff format --quiet --check && $(BIN)/mypy
COMPILE := UV_CUSTOM_COMPILE_COMMAND='make lock' $(TOOLS)/bin/uv pip compile --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --quiet

# What the dependencies may be licensed under. The last is MIT too; its package does not say so.
LICENSES := MIT;BSD;ISC;Apache;PSF;Python Software Foundation;MPL;Mozilla
UNSAID := axe-playwright-python

.DEFAULT_GOAL := help
.PHONY: help local check test bench soak package provision backfill audit scale load capacity lock dependencies clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

local: $(READY) ## Run the whole app on this machine (HTTP_PORT=8000 AWS_PORT=4566 DATA=folder)
	@HTTP_PORT='$(HTTP_PORT)' AWS_PORT='$(AWS_PORT)' DATA='$(DATA)' exec $(BIN)/python -m localcloud

check: $(TESTED) ## Lint, check types, run the unit and integration tests (under a minute, once all is installed)
	@$(LINT)
	@exec $(BIN)/python -m pytest --quiet --numprocesses '$(JOBS)' --dist worksteal -m 'not slow' \
	  tests/unit tests/integration

test: $(TESTED) ## Check and test everything (TESTS=tests/unit, JOBS=2 files at a time, BROWSER=yes installs one)
	@$(LINT)
	@BROWSER='$(BROWSER)' exec $(BIN)/python -m pytest --numprocesses '$(JOBS)' --dist loadfile --no-loadscope-reorder $(TESTS)

bench: $(TESTED) ## Compare what an order costs, here and with what people use instead (some minutes)
	@exec $(BIN)/python -m benchmarks

soak: $(TESTED) ## Run fault schedules by the thousand, and break every rule once (SCHEDULES=10000 KIND= SEED= JOBS=2)
	@exec $(BIN)/python -m tests.proof.soak --jobs '$(JOBS)' $(if $(SCHEDULES),--schedules '$(SCHEDULES)') \
	  $(if $(KIND),--kind '$(KIND)') $(if $(SEED),--seed '$(SEED)')

package: $(READY) ## Write the SAM template and the code of a stage to build/ (STAGE=prod)
	@exec $(BIN)/python -m infrastructure.package --stage '$(or $(STAGE),$(error Which stage? make package STAGE=prod))'

provision: $(READY) ## Make a stage's tables, for chalice deploy (STAGE=dev)
	@exec $(BIN)/python -m infrastructure.provision --stage '$(or $(STAGE),$(error Which stage? make provision STAGE=dev))'

backfill: $(READY) ## Count what the totals of a stage lack, to the end (STAGE=prod SEGMENTS=8)
	@exec $(BIN)/python -m operations.backfill --stage '$(or $(STAGE),$(error Which stage? make backfill STAGE=prod))' \
	  --aws-port '$(AWS_PORT)' $(if $(STACK),--stack '$(STACK)') $(if $(SEGMENTS),--segments '$(SEGMENTS)')

audit: $(READY) ## Prove the totals of a stage, and mend them on request (STAGE=prod REPAIR=yes)
	@exec $(BIN)/python -m operations.audit --stage '$(or $(STAGE),$(error Which stage? make audit STAGE=prod))' \
	  --aws-port '$(AWS_PORT)' $(if $(STACK),--stack '$(STACK)') \
	  $(if $(REPAIR),$(if $(filter yes,$(REPAIR)),--repair,$(error It is REPAIR=yes, or nothing)))

scale: $(TESTED) ## Measure backfill and audit at 10,000 and 100,000 orders, some minutes
	@exec $(BIN)/python -m benchmarks.scale

capacity: $(TESTED) ## Calculate what a shard and a product can bear, for docs/scale.md
	@exec $(BIN)/python tools/capacity.py

lock: $(TOOLS)/.ready ## Write both lock files, after an edit of requirements*.txt (UPGRADE=yes)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-dev.txt --output-file requirements-dev.lock
	@$(COMPILE) --constraint requirements-dev.lock requirements-local.txt --output-file requirements-local.lock

dependencies: $(TESTED) $(TOOLS)/.ready ## List licences, and look for known vulnerabilities (asks PyPI)
	@$(TOOLS)/bin/pip-licenses --python $(BIN)/python --order license --partial-match --allow-only '$(LICENSES)' \
	  --ignore-packages $(UNSAID)
	@$(TOOLS)/bin/pip-audit --strict --disable-pip --requirement requirements-dev.lock

load: $(TESTED) ## Put the deployed app under load, and check every total (CLIENTS=8 SECONDS=60 KILL=yes)
	@exec $(BIN)/python -m benchmarks.load --clients '$(CLIENTS)' --seconds '$(SECONDS)' \
	  $(if $(KILL),$(if $(filter yes,$(KILL)),--kill,$(error It is KILL=yes, or nothing)))

clean: ## Remove all that was made here, the virtualenv too
	rm -rf $(VENV) build .chalice/deployments .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-local.lock tools/venv.py
	@$(PYTHON) tools/venv.py $(VENV) requirements-local.lock
	@touch $@

# This lock has all of the other one in it, in the same versions.
$(TESTED): requirements-dev.lock tools/venv.py
	@$(PYTHON) tools/venv.py $(VENV) requirements-dev.lock
	@touch $(READY) $@

$(TOOLS)/.ready: requirements-tools.txt tools/venv.py
	@$(PYTHON) tools/venv.py $(TOOLS) requirements-tools.txt
	@touch $@
