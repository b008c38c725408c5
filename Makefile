# Everything runs from .venv; `make help` lists what there is.
PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN := .venv/bin
STAMP := .venv/.installed
HOST ?= 127.0.0.1

.PHONY: help install run test check bench ui lock clean
.DEFAULT_GOAL := help

help:  ## what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## the pinned set, this package, and the offline resources; a second call does nothing

$(STAMP): requirements.lock pyproject.toml flat_dist/packages.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --requirement requirements.lock
	$(BIN)/pip install --no-deps --editable .
	$(BIN)/python jobs/prepare.py
	@touch $@

run: install  ## the main job on the built-in dataset: ARGS="--model.name lstm" adds options
	$(BIN)/python jobs/flat_round.py $(ARGS)

test: install  ## lint, types, layers, and the tests: ARGS="-m slow" adds options
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: install  ## lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## the attack engine against stock TextAttack: ARGS="--model lstm" adds options
	$(BIN)/python jobs/bench.py attack $(ARGS)

ui: install  ## the MLflow UI on loopback: HOST=0.0.0.0 opens it to the network, to anybody there
	@mkdir -p runs
	@test $(HOST) = 127.0.0.1 || echo "warning: whoever reaches $(HOST):5000 can read and change all runs" >&2
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui \
		--backend-store-uri sqlite:///$(abspath runs)/mlflow.db --host $(HOST) --port 5000 --workers 1

lock:  ## write requirements.lock from a fresh resolution of pyproject.toml
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet 'torch==2.13.0' '.[dev]'
	.venv-lock/bin/pip freeze --exclude flat_dist | sed 's/+cpu//' > requirements.lock
	rm -rf .venv-lock

clean:  ## remove the environment; runs/ and the cache of resources stay
	rm -rf .venv
