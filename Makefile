# All commands run in .venv. `make help` lists the targets.
PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN := .venv/bin
STAMP := .venv/.installed
HOST ?= 127.0.0.1

LOCKS := requirements-tools.lock requirements.lock requirements-cuda.lock requirements-dev.lock
CPU_LOCK := requirements-cpu.lock
DOCS_LOCK := requirements-docs.lock
INSTALL := $(BIN)/python -I -m pip install --no-build-isolation
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))

.PHONY: help install venv-fits run test check lint docs bench ui lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## install the locked packages, this package and the offline resources; a second call does nothing

# - pip installs only files whose hash is in a lock, and builds packages only with locked tools.
# - The first step installs the locked pip. Older versions ignore the hashes of constraints, which a CUDA build of torch
#   needs for its dependencies.
# - A package without the file INSTALLER is left from an interrupted install. It is removed and installed again.
# - Torch's CPU build is installed first, from its own lock: pip prefers files whose hash the package index lists, and a
#   folder of wheels lists none.
$(STAMP): $(LOCKS) $(CPU_LOCK) pyproject.toml flat_dist/resources/packages.txt | venv-fits
	@$(PYTHON) -c '$(IS_311)' 2>/dev/null || { echo "$(PYTHON) is not Python 3.11, which flat_dist needs:" \
		"install it, or name it with make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments:" \
		"install its modules venv and ensurepip (on Debian and Ubuntu: the package python3.11-venv)" >&2; exit 2; }
	@for package in .venv/lib/python3.11/site-packages/*.dist-info; do \
		test -e "$$package/INSTALLER" || rm -rf "$$package"; done
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes --requirement requirements-tools.lock
	$(INSTALL) --quiet --no-deps --require-hashes --requirement $(CPU_LOCK) 2>/dev/null \
		|| echo "pip finds no CPU-only torch: it installs the package index's build, which may include CUDA"
	$(INSTALL) --require-hashes --requirement requirements.lock --requirement requirements-dev.lock \
		--constraint requirements-cuda.lock
	$(INSTALL) --no-deps --editable .
	$(BIN)/flat-dist prepare
	@touch $@

venv-fits:
	@! ls .venv/bin/python >/dev/null 2>&1 || .venv/bin/python -c '$(IS_311)' 2>/dev/null || { \
		echo ".venv was made with a Python that is missing or is not 3.11: make clean removes it" >&2; exit 2; }
	@! grep -qs '^command = ' .venv/pyvenv.cfg || grep -qF " $$(pwd -P)/.venv" .venv/pyvenv.cfg || { \
		echo ".venv was made in another folder and does not work in this one: make clean removes it" >&2; exit 2; }

run: install  ## run the main job on the built-in dataset; ARGS="--model.name lstm" adds options
	$(BIN)/flat-dist train $(ARGS)

# Both test processes and the programs that they start would each use all cores: their threads wait for each other.
test: install  ## run all checks and the tests; ARGS="-m slow" adds options for pytest
	$(MAKE) --no-print-directory check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint  ## run all checks without the tests: lint, format, types, imports between packages
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: install  ## run the fast checks only: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: .venv/.installed-docs  ## build the documentation as web pages in docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx --builder html --fail-on-warning --quiet --doctree-dir docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

.venv/.installed-docs: $(DOCS_LOCK) $(STAMP)
	@$(INSTALL) --quiet --no-deps --require-hashes --requirement $(DOCS_LOCK)
	@touch $@

bench: install  ## compare the attack engine with stock TextAttack; ARGS="--model.name lstm" adds options
	$(BIN)/flat-dist bench attack $(ARGS)

ui: install  ## start the MLflow UI on loopback; HOST=0.0.0.0 opens it to everyone on the network
	@mkdir -p runs
	@test $(HOST) = 127.0.0.1 || echo "warning: everyone who can reach $(HOST):5000 can read and change all runs" >&2
	uri="$$($(BIN)/flat-dist prepare --mlflow-database runs/mlflow.db)" && \
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui \
		--backend-store-uri "$$uri" --host $(HOST) --port 5000 --workers 1

# uv resolves everything once, into .venv/all.lock. Each lock is a part of it. $(CPU_LOCK) is edited by hand.
COMPILE := $(BIN)/uv pip compile --no-config --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --no-header
PART := $(COMPILE) --constraint .venv/all.lock
WITHOUT := sed -nE 's/^([a-z0-9.-]+)==.*/--no-emit-package \1/p'

lock: install  ## update the locks from pyproject.toml; ARGS=--upgrade takes newer releases
	sed -nE 's/^([a-z0-9.-]+==[^ ]+).*/\1/p' $(LOCKS) $(DOCS_LOCK) > .venv/all.lock
	$(COMPILE) pyproject.toml --extra dev --group tools --group docs --output-file .venv/all.lock $(ARGS)
	$(PART) --group tools > requirements-tools.lock
	$(PART) pyproject.toml $$(grep -vE '^(cuda|nvidia|triton)' .venv/all.lock | $(WITHOUT)) > requirements-cuda.lock
	$(PART) pyproject.toml $$($(WITHOUT) requirements-cuda.lock) > requirements.lock
	$(PART) pyproject.toml --extra dev $$($(WITHOUT) requirements.lock requirements-cuda.lock) > requirements-dev.lock
	$(PART) --group docs $$($(WITHOUT) $(LOCKS)) > $(DOCS_LOCK)

clean:  ## remove .venv; runs/ and the cached resources stay
	rm -rf .venv
