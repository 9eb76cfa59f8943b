# Development commands. `make` alone lists them; CI calls the same ones (.ci/run).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   ?= .venv
IMAGE  ?= royal-equips-orchestrator
DOCKER ?= docker
ARGS   ?=
MINUTES ?= 5
SEED   ?=
# Test files that run side by side; most of their time is waiting.
JOBS   ?= 4
# uv trusts the certificates that the system trusts, as pip does; so do the heals of `make run`.
export UV_SYSTEM_CERTS ?= true

BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# This house's own code, which keeps its rules; packages beside it, such as blueprints/, need not.
CODE   := app tests benchmarks deploy tools wsgi.py gunicorn.conf.py
HOUSE   = $(wildcard $(CODE))
# The plugin makes a skipped test fail the run where CI=true: nothing may go untested there.
PYTEST := $(BIN)/python -m pytest -p tests.support.ci -n $(JOBS) --dist loadfile --no-loadscope-reorder
COMMANDS := $(BIN)/python -m app.cli

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(READY) ## create .venv with everything that development needs (PYTHON=python3.12 VENV=.venv-3.12)

$(READY): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'make: $(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=python3.12' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo 'make: $(PYTHON) cannot create an environment; install its venv module (Debian: python3-venv)' >&2; \
		rm -rf $(VENV); exit 1; }
	@echo 'setting up $(VENV)'
	@awk '/^uv==/, !/\\$$/' requirements-dev.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps \
		--only-binary :all: -r $(VENV)/uv.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

.PHONY: run
run: setup ## serve on http://127.0.0.1:10000 (PORT=8080 for another port)
	@exec $(BIN)/python -m deploy.serve -b 127.0.0.1:$${PORT:-10000} $(ARGS)

.PHONY: test
test: setup ## run every test, those of the image too where a Docker engine answers (ARGS="-k name")
	@$(PYTEST) $(ARGS)

.PHONY: unit
unit: setup ## run every test that needs no Docker engine
	@$(PYTEST) -m 'not container' $(ARGS)

.PHONY: check
check: setup ## format, lint, types, architecture, requirements
	@$(BIN)/ruff format --check $(HOUSE)
	@$(BIN)/ruff check $(HOUSE)
	@$(BIN)/mypy $(HOUSE)
	@$(BIN)/lint-imports --no-logo
	@$(COMMANDS) doctor --strict --offline

.PHONY: format
format: setup ## rewrite the code as `make check` wants it
	@$(BIN)/ruff check --fix --exit-zero --quiet $(HOUSE)
	@$(BIN)/ruff format $(HOUSE)

.PHONY: lock
lock: setup ## write the locks anew from the requirements, versions kept (ARGS=--upgrade takes the newest)
	@$(COMMANDS) lock $(ARGS)

.PHONY: names
names: setup ## write the table of import names and their distributions anew
	@$(BIN)/python -m tools.names

.PHONY: doctor
doctor: setup ## find what would fail in production (ARGS=--fix mends what can be mended)
	@$(COMMANDS) doctor $(ARGS)

.PHONY: drift
drift: setup ## show what runs only because it was healed (ARGS=--write makes it permanent)
	@$(COMMANDS) drift $(ARGS)

.PHONY: audit
audit: setup ## look up known vulnerabilities of what the lock names
	@$(COMMANDS) audit $(ARGS)

.PHONY: transcripts
transcripts: setup ## record the transcripts of the documentation anew
	@RECORD_TRANSCRIPTS=1 $(BIN)/python -m pytest -q tests/cli/test_transcripts.py \
		tests/container/test_secret.py

.PHONY: screenshots
screenshots: setup ## make the pictures of docs/pages anew, of the real pages in a real browser
	@mkdir -p docs/pages
	@RECORD_SCREENSHOTS=$(CURDIR)/docs/pages $(BIN)/python -m pytest -q tests/pages/test_screenshots.py

.PHONY: bench
bench: setup ## measure, and print tables
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: campaign
campaign: setup ## attack the service at random, and print what did not hold (MINUTES=5 SEED=1)
	@$(BIN)/python -m tests.campaign --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: image
image: ## build the image and print its size
	@$(DOCKER) build $(ARGS) -t $(IMAGE) .
	@$(DOCKER) image inspect -f '{{.Size}}' $(IMAGE) | awk '{ printf "$(IMAGE): %.0f MB\n", $$1 / 1e6 }'

.PHONY: bench-image
bench-image: setup ## measure the image: size, start to ready, healed and healthy
	@DOCKER=$(DOCKER) $(BIN)/python -m benchmarks.image

.PHONY: clean
clean: ## remove the environments and caches
	@rm -rf .venv* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
