# make run ARGS="schedule=cosine sampler=ddim sampler.eta=0"
PYTHON ?= python3.11
BIN := .venv/bin

run: .venv/ready ## install if needed, then run.py with ARGS
	$(BIN)/python run.py $(ARGS)

test: .venv/ready ## the tests that need neither minutes, nor a GPU, nor the network; ARGS for pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: .venv/ready ## lint, format and types, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error

fmt: .venv/ready ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/ready ## the environment in .venv, from the locked, hash-checked requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar off --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps -e .
	touch $@

docs: .venv/ready ## README and docs/ with references of options and of the API: a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html; to search in it: $(BIN)/python -m http.server --directory build/site"

wheel: .venv/ready ## the package, with conf/ and sweeps/ inside, in dist/
	$(BIN)/python -m hatchling build

samplers: .venv/ready ## the error of every sampler on a mixture: tables, CSV and curves in build/samplers
	$(BIN)/python benchmarks/samplers.py --out build/samplers

faults: .venv/ready ## kills a run twenty times and compares its end with that of an unbroken one; ARGS="--rounds 5"
	$(BIN)/python tests/faults.py $(ARGS)

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.PHONY: docs wheel faults samplers run test check fmt setup help
.DEFAULT_GOAL := help
