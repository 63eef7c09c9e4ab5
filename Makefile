# `make run` installs, trains, exports and measures the recogniser; `make test` installs and tests it.

PYTHON ?= $(firstword $(shell command -v python3.11 python3))
TORCH ?= cpu
UV_VERSION := 0.13.9

BIN := .venv/bin
UV := .uv/bin/uv
INSTALLED := .venv/.installed-$(TORCH)

# uv reads no pip configuration, so hand it the wheel folders and the index that pip is told to use, if any.
pip_setting = $(shell $(PYTHON) -m pip config get global.$(1) 2>/dev/null)
wheels = $(or $(PIP_FIND_LINKS),$(call pip_setting,find-links))
index = $(or $(PIP_INDEX_URL),$(call pip_setting,index-url))
comma := ,
sources = $(if $(wheels),UV_FIND_LINKS="$$(echo $(wheels) | tr ' ' '$(comma)')") $(if $(index),UV_DEFAULT_INDEX="$(index)")

# PyPI's torch for Linux is a CUDA build of gigabytes. The CPU build comes from a wheel folder that holds one, or else
# from PyTorch's own index. A CUDA build brings packages that the lock does not list, hence `install` and not `sync`.
cpu_wheel = $(foreach folder,$(patsubst file://%,%,$(wheels)),$(wildcard $(folder)/torch-*cpu*.whl))
install_cpu = $(sources) $(UV) pip sync --python $(BIN)/python $(if $(cpu_wheel),,--torch-backend=cpu) requirements.lock
install_cuda = $(if $(index),UV_DEFAULT_INDEX="$(index)") $(UV) pip install --python $(BIN)/python -r requirements.lock

# Compiled modules are kept: where this variable is set, every command would compile torch, MLflow and the rest anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install run ui test test-slow test-all ci web search lint lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' Makefile
	@echo 'TORCH=cuda installs a CUDA build of torch; PYTHON=path/to/python3.11 chooses the interpreter.'

install: $(INSTALLED) ## create .venv with the packages that requirements.lock pins

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo 'error: "$(PYTHON)" is not Python 3.11; install it or say make PYTHON=path/to/python3.11' >&2; exit 1; }
	@echo 'Installing into .venv (a few minutes at the first time)'
	@test -x $(UV) || { $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	@test -x $(BIN)/python || $(UV) venv --quiet --python .uv/bin/python .venv
	@rm -f .venv/.installed-*
	@$(or $(install_$(TORCH)),$(error TORCH is cpu or cuda, not $(TORCH)))
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

# The reports of the last release are in git, and DVC would take them for this machine's: the first run makes everything.
first_run = $(if $(wildcard .dvc/cache),,--force)

run: $(INSTALLED) ## install, run the whole pipeline, print the head of its report
	@$(BIN)/python -m flows.pipeline $(first_run)
	@echo; head -n 40 reports/README.md

ui: $(INSTALLED) ## Prefect and MLflow in the browser, the schedules running, until Ctrl-C
	@$(BIN)/python -m flows.ui

# tests/conftest.py schedules the tests: a file stays in one process, and so do the folders that share something costly.
pytest = $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED) ## install and run the fast tests, which cover every module (minutes)
	@$(pytest) -m "not slow"

test-slow: $(INSTALLED) ## the tests that take minutes: servers, browsers, kills, converters, whole pipelines
	@$(pytest) -m slow

test-all: test test-slow ## all tests, as every night and before a release

export BASE ?= main

ci: $(INSTALLED) ## gate this branch's model against that of BASE (main), as for a pull request
	@$(BIN)/python -m flows.ci --base "$$BASE"

web: $(INSTALLED) ## write the page, the shipped model and ONNX Runtime Web, fetched from npm once, to build/web
	@$(BIN)/velocity-asr demo --save build/web

# The compiler comes as a package, for this command alone.
SEARCH := velocity/recognition/decoding
digest = $(shell cat $(sort $(wildcard $(SEARCH)/wasm/*)) | $(PYTHON) -c \
	'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')

search: $(INSTALLED) ## compile the search for words to WebAssembly
	@$(sources) $(UV) run --quiet --no-project --with ziglang==0.17.1 python -m ziglang cc -target wasm32-wasi \
		-mexec-model=reactor -std=c11 -O2 -msimd128 -s -Wall -Wextra -Wl,-z,stack-size=65536 -DSOURCE='"$(digest)"' \
		-o $(SEARCH)/phone_search.wasm $(SEARCH)/wasm/search.c
	@chmod 644 $(SEARCH)/phone_search.wasm

lint: $(INSTALLED) ## check the style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# Keeps every version that still fits; delete lines of requirements.lock first to let them move.
# For the first 3.11: later ones need less.
lock: $(INSTALLED) ## resolve pyproject.toml anew into requirements.lock
	@sed '/^torch==/d' requirements.lock > .uv/requirements.lock
	@$(sources) $(UV) pip compile pyproject.toml --all-extras --python $(BIN)/python --python-version 3.11 $(if $(cpu_wheel),,--torch-backend=cpu) \
		--no-annotate --custom-compile-command 'make lock' --quiet --output-file .uv/requirements.lock
	@sed 's/^\(torch==[^+]*\)+cpu$$/\1/' .uv/requirements.lock > requirements.lock

clean: ## remove the installation and the caches of the tools, not the data, models or reports
	rm -rf .venv .uv .prefect .pytest_cache .ruff_cache .hypothesis build velocity_asr.egg-info
