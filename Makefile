# make demo, make test, make lint: each sets up what it needs in .venv, with the versions of constraints.txt.
# make bench: in .venv-bench, for the peers need torchvision; as the package index serves them, several gigabytes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
# Extra options for pip, such as an index with CPU builds of PyTorch: make test PIP_FLAGS="--index-url ..."
PIP_FLAGS ?=

.PHONY: demo test lint format bench bench-env clean help
help:
	@echo "make demo    train and denoise real anatomy, about 8 minutes on 2 cores; writes demo-output/"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff rewrite"
	@echo "make bench   the benchmark, hours on 2 cores; goes on where it was stopped; writes docs/benchmarks.md"
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

$(BENCH)/installed: pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -r benchmarks/requirements.txt
	touch $@

bench-env: $(BENCH)/installed

# More options: make bench BENCH_FLAGS="ours --minutes 60"
bench: $(BENCH)/installed
	$(BENCH)/bin/python -m benchmarks.run $(BENCH_FLAGS)

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(BENCH) demo-output .pytest_cache .ruff_cache .mypy_cache .hypothesis
