# Two commands on a fresh machine: `make demo` and `make test`. PYTHON is 3.11 or 3.12.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test up down clean

demo: $(READY) ## the whole pipeline on the toy recipe
	$(BIN)/python -m flows toy

test: $(READY) ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

up: $(READY) ## a Prefect server and a worker that stay, with the flow deployed
	$(BIN)/python -m tasks.running.server up

down: ## end them
	$(BIN)/python -m tasks.running.server down

clean: ## everything that was made here: environment, artifacts, lineage
	rm -rf $(VENV) workspace build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# img2dataset pulls in the `dataclasses` back-port, which breaks Prefect's temporary server: taken away again.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	$(BIN)/python -m pip uninstall --disable-pip-version-check -y dataclasses
	touch $@
