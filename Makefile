# `make demo` trains the example, `make test` checks everything; both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo examples test faults test-long test-extras test-xla lint format bench clean

demo: $(INSTALLED)
	$(BIN)/python examples/autoencoder.py

# All programs of examples/, one after the other; the table goes into examples/README.md.
examples: $(VENV)/.examples
	$(BIN)/python examples/run_all.py

test: lint
	@$(BIN)/python -m pytest -n 2

# Kills, signals, corruptions, hostile files and resumed runs, in full; prints what survived.
faults: $(INSTALLED)
	@$(BIN)/python -m pytest -n 2 -m faults --timeout 900 --write-faults=docs/reliability.md tests

# Every fault on every rank under every launcher; minutes.
test-long: $(INSTALLED)
	@$(BIN)/python -m pytest -m long

# DeepSpeed, torchao and bitsandbytes on the CPU, in an environment of their own; the examples that
# need transformers, onnxruntime or statsmodels.
test-extras: .venv-extras/.installed $(VENV)/.examples
	@.venv-extras/bin/python -m pytest tests/extras
	@$(BIN)/python -m pytest tests/examples -m extras

# XLA on the CPU. Its newest release needs an older torch, which comes with 7 GB of CUDA.
test-xla: .venv-xla/.installed
	@PJRT_DEVICE=CPU .venv-xla/bin/python -m pytest tests/xla

.venv-extras/.installed: tests/extras/requirements.txt pyproject.toml constraints.txt
	test -x .venv-extras/bin/python || $(PYTHON) -m venv .venv-extras
	.venv-extras/bin/python -m pip install --quiet -c constraints.txt torch
	.venv-extras/bin/python -m pip install --quiet -c constraints.txt -r $< --editable .
	@touch $@

.venv-xla/.installed: tests/xla/requirements.txt pyproject.toml
	test -x .venv-xla/bin/python || $(PYTHON) -m venv .venv-xla
	.venv-xla/bin/python -m pip install --quiet -r $< --editable .
	@touch $@

$(VENV)/.examples: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[examples-all]'
	@touch $@

lint: $(INSTALLED)
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: $(INSTALLED)
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .venv-extras .venv-xla demo .mypy_cache .ruff_cache .pytest_cache

# One environment for all commands, so that after any of them the others work offline.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,examples]'
	@touch $@
