# Every target installs what it needs. You need only make and Python 3.11 or newer.
#   make PYTHON=python3.12 ...   uses another Python

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
FORCE ?=
ORDERS_PER_SECOND ?= 10
PRODUCTS ?= 100
VIEWS ?= 2
VIEWERS ?= 1
API ?=
TESTS ?= tests
UPGRADE ?=
SCHEDULES ?=
KIND ?=
SEED ?=
FUNCTIONS ?=
JOBS ?= 2
BROWSER ?=
SCRIPT ?=

VENV := .venv
# One virtualenv with two marker files: one for running the app, one for also testing it.
READY := $(VENV)/.ready-local
READY_FOR_TESTS := $(VENV)/.ready-dev
BIN := $(VENV)/bin
TOOLS := build/tools
LINT := $(BIN)/ruff check --quiet && $(BIN)/ruff format --quiet --check && $(BIN)/mypy
COMPILE := UV_CUSTOM_COMPILE_COMMAND='make lock' $(TOOLS)/bin/uv pip compile --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --quiet

# Allowed licences of dependencies. axe-playwright-python is MIT too, but its package metadata does not say so.
LICENSES := MIT;BSD;ISC;Apache;PSF;Python Software Foundation;MPL;Mozilla
LICENSE_CHECKED_BY_HAND := axe-playwright-python

.DEFAULT_GOAL := help
.PHONY: help local demo check test bench cost soak mutants package provision backfill audit replay scale load capacity contention lock dependencies clean

help: ## List all targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

local: $(READY) ## Run the whole app on this machine (HTTP_PORT=8000 AWS_PORT=4566 DATA=folder)
	@HTTP_PORT='$(HTTP_PORT)' AWS_PORT='$(AWS_PORT)' DATA='$(DATA)' exec $(BIN)/python -m localcloud

demo: $(READY) ## Break a plain ADD and this app side by side, on a page (HTTP_PORT=8000; SCRIPT=yes in the terminal)
	@exec $(BIN)/python -m localcloud.demo --port '$(HTTP_PORT)' \
	  $(if $(SCRIPT),$(if $(filter yes,$(SCRIPT)),--script,$(error The only value is SCRIPT=yes)))

check: $(READY_FOR_TESTS) ## Lint, check types, run unit and integration tests (less than a minute after the first time)
	@$(LINT)
	@exec $(BIN)/python -m pytest --quiet --numprocesses '$(JOBS)' --dist worksteal -m 'not slow' \
	  tests/unit tests/integration

test: $(READY_FOR_TESTS) ## Lint, check types, run all tests (TESTS=tests/unit JOBS=2; BROWSER=yes installs a browser)
	@$(LINT)
	@BROWSER='$(BROWSER)' exec $(BIN)/python -m pytest --numprocesses '$(JOBS)' --dist loadfile --no-loadscope-reorder $(TESTS)

bench: $(READY_FOR_TESTS) ## Compare with other ways to keep totals; needs an idle machine (FORCE=yes only prints)
	@exec $(BIN)/python -m benchmarks $(if $(FORCE),$(if $(filter yes,$(FORCE)),--force,$(error The only value is FORCE=yes)))

cost: $(READY_FOR_TESTS) ## Calculate a month's bill (ORDERS_PER_SECOND=10 PRODUCTS=100 VIEWS=2 VIEWERS=1 API=yes)
	@exec $(BIN)/python -m benchmarks.bill --orders-per-second '$(ORDERS_PER_SECOND)' --products '$(PRODUCTS)' \
	  --views '$(VIEWS)' --viewers '$(VIEWERS)' $(if $(API),$(if $(filter yes,$(API)),--api,$(error The only value is API=yes)))

soak: $(READY_FOR_TESTS) ## Run many fault schedules, and check that tests catch broken code (SCHEDULES=500000 KIND= SEED= JOBS=2)
	@exec $(BIN)/python -m tests.proof.soak --jobs '$(JOBS)' $(if $(SCHEDULES),--schedules '$(SCHEDULES)') \
	  $(if $(KIND),--kind '$(KIND)') $(if $(SEED),--seed '$(SEED)')

mutants: $(READY_FOR_TESTS) $(TOOLS)/.ready ## Check that tests notice small changes of the counting code (FUNCTIONS='*.ledger.*')
	@PYTHONPATH="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	  exec $(TOOLS)/bin/python -m tools.mutants $(if $(FUNCTIONS),'$(FUNCTIONS)')

package: $(READY) ## Write a stage's SAM template and code to build/ (STAGE=prod)
	@exec $(BIN)/python -m infrastructure.package --stage '$(or $(STAGE),$(error Which stage? make package STAGE=prod))'

provision: $(READY) ## Create a stage's tables before chalice deploy (STAGE=dev)
	@exec $(BIN)/python -m infrastructure.provision --stage '$(or $(STAGE),$(error Which stage? make provision STAGE=dev))'

backfill: $(READY) ## Count orders that are missing from a stage's totals (STAGE=prod SEGMENTS=8)
	@exec $(BIN)/python -m operations.backfill --stage '$(or $(STAGE),$(error Which stage? make backfill STAGE=prod))' \
	  --aws-port '$(AWS_PORT)' $(if $(STACK),--stack '$(STACK)') $(if $(SEGMENTS),--segments '$(SEGMENTS)')

audit: $(READY) ## Check a stage's totals against its orders; REPAIR=yes repairs drift (STAGE=prod)
	@exec $(BIN)/python -m operations.audit --stage '$(or $(STAGE),$(error Which stage? make audit STAGE=prod))' \
	  --aws-port '$(AWS_PORT)' $(if $(STACK),--stack '$(STACK)') \
	  $(if $(REPAIR),$(if $(filter yes,$(REPAIR)),--repair,$(error The only value is REPAIR=yes)))

replay: $(READY) ## Count the batches that Lambda gave up and kept, once their cause is fixed (STAGE=prod)
	@exec $(BIN)/python -m operations.replay --stage '$(or $(STAGE),$(error Which stage? make replay STAGE=prod))' \
	  --aws-port '$(AWS_PORT)' $(if $(STACK),--stack '$(STACK)')

scale: $(READY_FOR_TESTS) ## Measure backfill and audit with 10,000 and 100,000 orders (some minutes)
	@exec $(BIN)/python -m benchmarks.scale

capacity: $(READY_FOR_TESTS) ## Calculate the capacity of a shard and a product, into docs/scale.md
	@exec $(BIN)/python -m tools.capacity

contention: $(READY_FOR_TESTS) ## Measure conflicts between shards on the model of DynamoDB, for docs/scale.md (some minutes)
	@exec $(BIN)/python -m tests.proof.contention

lock: $(TOOLS)/.ready ## Update both lock files after editing requirements*.txt (UPGRADE=yes)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-dev.txt --output-file requirements-dev.lock
	@$(COMPILE) --constraint requirements-dev.lock requirements-local.txt --output-file requirements-local.lock

dependencies: $(READY_FOR_TESTS) $(TOOLS)/.ready ## List dependencies' licences and known vulnerabilities (queries PyPI)
	@$(TOOLS)/bin/pip-licenses --python $(BIN)/python --order license --partial-match --allow-only '$(LICENSES)' \
	  --ignore-packages $(LICENSE_CHECKED_BY_HAND)
	@$(TOOLS)/bin/pip-audit --strict --disable-pip --requirement requirements-dev.lock

load: $(READY_FOR_TESTS) ## Run clients against the deployed app, and check every total (CLIENTS=8 SECONDS=60 KILL=yes)
	@exec $(BIN)/python -m benchmarks.load --clients '$(CLIENTS)' --seconds '$(SECONDS)' \
	  $(if $(KILL),$(if $(filter yes,$(KILL)),--kill,$(error The only value is KILL=yes)))

clean: ## Delete all generated files, including the virtualenv
	rm -rf $(VENV) build .chalice/deployments .pytest_cache .hypothesis .mypy_cache .ruff_cache mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-local.lock tools/venv.py
	@$(PYTHON) tools/venv.py $(VENV) requirements-local.lock
	@touch $@

# This lock file includes all of requirements-local.lock, in the same versions.
$(READY_FOR_TESTS): requirements-dev.lock tools/venv.py
	@$(PYTHON) tools/venv.py $(VENV) requirements-dev.lock
	@touch $(READY) $@

$(TOOLS)/.ready: requirements-tools.txt tools/venv.py
	@$(PYTHON) tools/venv.py $(TOOLS) requirements-tools.txt
	@touch $@
