# Each target does all its set-up: .venv in the checkout, made once and reused.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEMO := .venv-nemo
NEMO_READY := $(NEMO)/.ready
TOOLKIT := .venv-nemo-toolkit
TOOLKIT_READY := $(TOOLKIT)/.ready
OUT ?= runs/quickstart
# Tests start many processes; whatever the environment says, what these import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-nemo quickstart test test-fast test-slow test-nemo lint docs lock system-packages clean

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

quickstart: setup ## The whole way on the embedded sample: text -> tokens -> base -> CPT -> merge -> report.
	@$(BIN)/pdapt quickstart --out $(OUT)

test: setup system-packages lint test-fast test-slow ## Everything: lint, types, fast tests, slow tests.

test-fast: setup ## The tests of every change, in some minutes.
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not gpu"

# Four processes on two cores: their tests wait for starts, ends and polls a third of the time.
test-slow: setup ## Ranks, kills, whole runs, browser, Slurm; GPU tests where there is one.
	@$(BIN)/python -m pytest -q -m "slow and not gpu and not alone" -n 4 --dist loadfile --no-loadscope-reorder --durations=20
	@$(BIN)/python -m pytest -q -m "alone or gpu"

test-nemo: setup-nemo ## The second engine, NVIDIA's Megatron-Bridge, and NeMo 2, on CPU ranks; not part of `test`.
	@$(NEMO)/bin/python -m pytest -q tests/nemo -n 2 --dist worksteal --durations=20
	@PDAPT_NEMO_TOOLKIT=$(CURDIR)/$(TOOLKIT)/bin/python $(BIN)/python -m pytest -q tests/nemo_toolkit --durations=20

lint: setup ## Style, format and types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error

docs: setup ## Write the reference pages again: options of a recipe, command line, file formats.
	@$(BIN)/python -m pdapt.training.options_page > docs/options.md
	@$(BIN)/python -m pdapt.cli.pages.reference_page > docs/cli.md
	@$(BIN)/python -m pdapt.cli.pages.formats_page > docs/formats.md

lock: ## Pin the requirements again (needs uv).
	@requirements/lock

setup: $(READY) ## Make .venv, once.

$(READY): requirements/build.txt requirements/dev.txt pyproject.toml
	@python=$$(.ci/find-python); \
	echo "setup: $$($$python --version) into $(VENV) (some minutes, 11 GB of disk, the first time only)"; \
	$$python -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --require-hashes -r requirements/build.txt
	@$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup-nemo: $(NEMO_READY) $(TOOLKIT_READY) ## Make .venv-nemo and .venv-nemo-toolkit, once; they read .venv's packages.

# One line of the path file reads .venv's packages, after its own; the other finds stand-ins for what needs a GPU.
$(NEMO_READY): $(READY) requirements/nemo.txt
	@$(BIN)/python -m venv --clear --without-pip $(NEMO)
	@own=$$($(NEMO)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	shared=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	printf '%s\n' "import site; site.addsitedir('$$shared')" "$(CURDIR)/tests/nemo/environment" > "$$own/shared.pth"
	@$(NEMO)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/nemo.txt
	@touch $@

$(TOOLKIT_READY): $(READY) requirements/nemo-toolkit.txt
	@$(BIN)/python -m venv --clear --without-pip $(TOOLKIT)
	@own=$$($(TOOLKIT)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	shared=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	printf '%s\n' "import site; site.addsitedir('$$shared')" > "$$own/shared.pth"
	@$(TOOLKIT)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/nemo-toolkit.txt
	@touch $@

system-packages: ## What tests need beyond Python: Chromium and Slurm, through apt where that may be done.
	@.ci/system-packages

clean: ## Remove .venv, .venv-nemo* and the quickstart's run.
	rm -rf $(VENV) $(NEMO) $(TOOLKIT) runs
