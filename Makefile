# Everything a person does here: `make reproduce`, `make smoke`, `make test`, `make docs`, `make bench`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup reproduce smoke test lint format schema docs bench seed-study fuzz lock clean

setup: $(READY)

# Done again only when the lock or the package's metadata change. Every package is checked against its hash; the
# environment counts as made only when all of it is.
$(READY): envs/requirements.lock pyproject.toml
	@$(PYTHON) envs/setup.py
	@touch $@

# Where results go, and what Snakemake keeps of a run: here, or, where the checkout is read-only, any other folder.
WORK := .
CONFIG := config/smoke.yaml
SNAKEMAKE = $(BIN)/snakemake $(if $(filter-out .,$(WORK)),--directory $(WORK)) --cores all
# Snakemake asks for a home, and a user of a container may have none.
ifeq ($(origin HOME), undefined)
export HOME := $(abspath $(WORK))/.home
endif

reproduce: $(READY)
	@$(SNAKEMAKE)

smoke: $(READY)
	@$(SNAKEMAKE) --configfile $(CONFIG)

# A process more than two, since many tests wait for others; the order is that of tests/conftest.py.
test: lint
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# What editors and readers know of the configuration; what checks it are the models that this is written from.
schema: $(READY)
	$(BIN)/relufit config --schema --output workflow/schemas/config.schema.yaml

# The documentation site, of docs/ and the docstrings; nothing is fetched, and a warning is an error.
docs: $(READY)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --doctree-dir build/doctrees docs build/site
	@echo "The site: build/site/index.html"

bench: $(READY)
	$(BIN)/python benchmarks/bench_kernels.py
	$(BIN)/python benchmarks/bench_compressors.py
	$(BIN)/python benchmarks/bench_casts.py
	$(BIN)/python benchmarks/bench_engine.py

# How often a right program is not confirmed, over many seeds; trials are kept in the folder STORE.
STORE := .seed-study
seed-study: $(READY)
	$(BIN)/python benchmarks/seed_study.py --store $(STORE)

# One million damaged payloads through every decoder, with bounds of arrays checked. `make test` sends fewer.
fuzz: $(READY)
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$$(mktemp -d)" $(BIN)/python tests/compression/hostile.py --count 1000000

# Needs uv and a network; run after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra workflow --extra dev --extra bench --extra ssh --extra ec2 --extra s3 --extra docs --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --output-file envs/requirements.lock

clean:
	rm -rf build .venv .snakemake .pytest_cache .mypy_cache .ruff_cache
