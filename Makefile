# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests run side by side; workers share the cores (tests/__init__.py).
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test quick check clean

demo: $(STAMP)
	$(BIN)/vos demo --out out/demo --overwrite

test: $(STAMP) check
	$(PYTEST)

quick: $(STAMP)
	$(PYTEST) -m "not slow"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
