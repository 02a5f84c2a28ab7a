VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
BENCH := benchmarks/.venv
PIP := $(BIN)/pip --disable-pip-version-check
export HF_HUB_OFFLINE := 1

.PHONY: help fit test test-slow test-hydra lint format docs bench bench-gpu soak out-of-core defaults clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

fit: $(VENV)/.fit  ## set up and fine-tune a real encoder on the embedded sample of six tasks
	$(BIN)/llm-embedder-data fit

test: $(VENV)/.test lint  ## set up and run the linters, the type checker and the tests
	$(BIN)/python -m pytest -n 3

test-slow: $(VENV)/.test  ## run the tests marked slow, and all laws with more examples
	$(BIN)/python -m pytest -n 3 -m 'slow or hypothesis' --hypothesis-profile thorough

test-hydra: $(VENV)/.test  ## run the console script's tests on Hydra's next release
	$(PIP) install -q --upgrade --pre --target $(VENV)/hydra-next 'hydra-core>=1.4.0rc1,<1.5'
	PYTHONPATH=$(VENV)/hydra-next $(BIN)/python -m pytest tests/cli -m 'not slow'

lint: $(VENV)/.test  ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test  ## let ruff format the code and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH)/.installed  ## measure reading and the data path beside peers; ARGS=--quick takes a few minutes
	$(BENCH)/bin/python benchmarks/read_formats.py $(if $(filter --quick,$(ARGS)),--mb 5 --repeats 1 --dry)
	$(BENCH)/bin/python benchmarks/data_path.py $(ARGS)

bench-gpu: $(BENCH)/.installed  ## measure how long a GPU waits for its data; needs CUDA
	$(BENCH)/bin/python benchmarks/gpu.py $(ARGS)

soak: $(VENV)/.fit  ## check an hour of batches on two ranks; ARGS='--minutes 600'
	$(BIN)/python benchmarks/soak.py $(ARGS)

out-of-core: $(BENCH)/.installed  ## measure time, disk and memory for a million rows and five million passages
	$(BENCH)/bin/python benchmarks/out_of_core.py $(ARGS)

defaults: $(VENV)/.fit  ## fine-tune with the defaults and measure; ARGS='--data DIR --sets NAME ...'
	$(BIN)/python benchmarks/defaults.py $(ARGS)

docs: $(VENV)/.test  ## build the documentation site into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:  ## remove the environments and what the tools leave behind
	rm -rf $(VENV) $(BENCH) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis outputs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.fit: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[demo,dev]'
	@touch $@ $(VENV)/.fit

# The peers get an environment of their own, with the same torch, transformers and datasets as ours.
$(BENCH)/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip --disable-pip-version-check install -q -c constraints.txt -r benchmarks/requirements.txt -e '.[demo]'
	@touch $@
