VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
BENCH := benchmarks/.venv
PIP := $(BIN)/pip --disable-pip-version-check
export HF_HUB_OFFLINE := 1

.PHONY: help fit test test-slow test-hydra lint format bench bench-gpu soak out-of-core defaults clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

fit: $(VENV)/.fit  ## set up and fine-tune a real encoder on the embedded sample of six tasks
	$(BIN)/llm-embedder-data fit

test: $(VENV)/.test lint  ## set up and run the linters, the type checker and the tests
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.test  ## the tests marked slow
	$(BIN)/python -m pytest -n 2 -m slow

test-hydra: $(VENV)/.test  ## the console script's tests on Hydra's next release
	$(PIP) install -q --upgrade --pre --target $(VENV)/hydra-next 'hydra-core>=1.4.0rc1,<1.5'
	PYTHONPATH=$(VENV)/hydra-next $(BIN)/python -m pytest tests/cli/test_main.py -m 'not slow'

lint: $(VENV)/.test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH)/.installed  ## the data path beside its peers; ARGS=--quick for a few minutes
	$(BENCH)/bin/python benchmarks/data_path.py $(ARGS)

bench-gpu: $(BENCH)/.installed  ## how long a GPU waits for its data; on a machine with CUDA
	$(BENCH)/bin/python benchmarks/gpu.py $(ARGS)

soak: $(VENV)/.fit  ## an hour of checked batches on two ranks; ARGS='--minutes 600'
	$(BIN)/python benchmarks/soak.py $(ARGS)

out-of-core: $(BENCH)/.installed  ## a million rows and five million passages: time, disk, memory
	$(BENCH)/bin/python benchmarks/out_of_core.py $(ARGS)

defaults: $(VENV)/.fit  ## what the defaults make of an encoder; ARGS='--data DIR --sets NAME ...'
	$(BIN)/python benchmarks/defaults.py $(ARGS)

clean:  ## remove the environment and what the tools leave behind
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis outputs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.fit: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[demo,dev]'
	@touch $@ $(VENV)/.fit

# The peers beside the same torch, transformers and datasets as ours; none of them is in .venv.
$(BENCH)/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip --disable-pip-version-check install -q -c constraints.txt -r benchmarks/requirements.txt -e '.[demo]'
	@touch $@
