# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help compile demo test test-torch check spec format bench chaos clean

help:            ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt hatch_build.py hatch_compile.py infaas_compiled_finder.py
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: install Python 3.11 or newer, or say PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V)"; exit 1; }
	@echo "building $(VENV) (two or three minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,demo,dev,metrics]'
	@$(BIN)/python -c 'from infaas.cli.compiled import compiled; print(compiled())'
	@touch $@

compile: $(STAMP) ## compile again what runs once a query: what was edited since runs as Python, with all of it
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -c 'from infaas.cli.compiled import compiled; print(compiled())'

demo: $(STAMP)   ## model-less serving on a real Kafka with real models, under 5 minutes (CHAOS=1 kills things meanwhile)
	$(BIN)/python -m infaas.examples.demo $(if $(CHAOS),--chaos)

# Those in tests/e2e start whole stacks, some ten processes each: two at a time would measure nothing but each other.
test: $(STAMP)   ## every test, on real Kafka; N=4 runs four at a time where two are now, for a machine with more cores
	$(BIN)/python -m pytest -n $(or $(N),2) tests/policy
	$(BIN)/python -m pytest -n $(or $(N),2) --dist worksteal tests/kafka tests/service
	$(BIN)/python -m pytest tests/e2e

test-torch: $(STAMP)  ## the torch engine on PyTorch, which is fetched for it (about 5 GB)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[torch]'
	$(BIN)/python -m pytest -m torch tests/torch

check: $(STAMP)  ## ruff, mypy, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

spec:            ## model-check the ownership and leadership protocol, some minutes (BIG=1 widens the bounds)
	$(PYTHON) docs/spec/run.py $(if $(BIG),big)

format: $(STAMP) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## latency through the whole system, as ratios to a plain echo
	$(BIN)/python -m infaas.bench latency

chaos: $(STAMP)  ## the fault matrix, about 15 minutes; SEED=n; writes docs/faults.md
	$(BIN)/python -m infaas.bench chaos --seed $(or $(SEED),0) --write docs/faults.md

clean:           ## remove what was built
	rm -rf $(VENV) .dev demo-report .mypy_cache .ruff_cache .pytest_cache .hypothesis
