# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## install the tested versions into .venv

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ecbehave needs Python 3.11 or later; say which with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: setup ## churn, purchase and preference on a year of grocery baskets
	@for task in churn purchase preference; do \
		echo; echo "== $$task: ecbehave run --config configs/$$task.yaml"; \
		$(BIN)/ecbehave run --config configs/$$task.yaml || exit $$?; \
	done

test: setup ## run the tests
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: setup ## format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: setup ## rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure against other tools, in an environment of its own
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement requirements.lock --requirement tests/benchmarks/requirements.txt
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@for peer in featuretools autogluon recbole; do \
		test -x $(BENCH)/$$peer/bin/python || $(PYTHON) -m venv $(BENCH)/$$peer || exit $$?; \
		$(BENCH)/$$peer/bin/python -m pip install --quiet --disable-pip-version-check \
			--requirement tests/benchmarks/requirements-$$peer.txt || exit $$?; \
	done
	@$(BENCH)/bin/python tests/benchmarks/run.py

clean: ## delete what demo, test and bench have made
	rm -rf $(VENV) $(BENCH) work/grocery build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
