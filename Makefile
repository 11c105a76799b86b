# make demo, make test, make lint: each sets up what it needs in .venv, with the versions of constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Extra options for pip, such as an index with CPU builds of PyTorch: make test PIP_FLAGS="--index-url ..."
PIP_FLAGS ?=

.PHONY: demo test lint format clean help
help:
	@echo "make demo    train and denoise real anatomy, about 8 minutes on 2 cores; writes demo-output/"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff rewrite"
	@echo "make clean   delete what these made"

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/diffdenoise demo -o demo-output

test: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-output .pytest_cache .ruff_cache .mypy_cache .hypothesis
