# Two commands: `make demo` and `make test`. Both make the environment they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Most of a test's time is waiting: four times as many as there are processors, at most 8.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 2 ? 4 : 8)))
# The list is complete, so nothing else is looked for.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal

# Where no bytecode may be kept, each of a thousand processes compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint gate servers unit lock clean

help:
	@echo "make demo   run the gate on the backends that need no server, write the report"
	@echo "make test   run everything that the project tests, on servers too where Docker is"
	@echo "make lint   check formatting, style, types and the direction of imports"
	@echo "make lock   renew requirements.txt from pyproject.toml"
	@echo "make clean  remove the environment and what runs left"

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: give another with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --no-compile -r requirements.txt
	$(INSTALL) --editable .
	@touch $@

demo: $(STAMP)
	rm -rf results/demo
	$(PYTEST) --backend=embedded -q --results=results/demo; \
	  status=$$?; \
	  $(BIN)/pytest --backend=embedded --benchmark-only --profile=smoke -q \
	    --results=results/demo || status=$$?; \
	  $(BIN)/conformance report results/demo --output results/report && exit $$status

test: lint unit gate servers

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

gate: $(STAMP)
	$(PYTEST) --backend=embedded -q --strict-claims

servers: $(STAMP)
	@names=$$($(BIN)/conformance backends --servers) && \
	  if [ -n "$$names" ]; then \
	    $(PYTEST) --backend=$$names -q tests/servers --pyargs conformance.scenarios; \
	  fi
	@$(BIN)/conformance backends --missing

unit: $(STAMP)
	$(PYTEST) tests

lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev \
	  --no-header --output-file requirements.txt pyproject.toml

clean:
	rm -rf $(VENV) results dist build .pytest_cache .hypothesis .mypy_cache .ruff_cache
