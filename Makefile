# Everything a person does here: `make reproduce`, `make smoke`, `make test`, `make lint`, `make bench`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup reproduce smoke test lint format bench fuzz lock clean

setup: $(READY)

# Done again only when the lock or the package's metadata change. Every package is checked against its hash.
$(READY): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "relufit needs Python 3.11 to 3.13: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

reproduce: $(READY)
	$(BIN)/snakemake --cores all

smoke: $(READY)
	$(BIN)/snakemake --cores all --configfile config/smoke.yaml

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

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

bench: $(READY)
	$(BIN)/python benchmarks/bench_kernels.py
	$(BIN)/python benchmarks/bench_compressors.py
	$(BIN)/python benchmarks/bench_engine.py

# One million damaged payloads through every decoder, with bounds of arrays checked. `make test` sends fewer.
fuzz: $(READY)
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$$(mktemp -d)" $(BIN)/python tests/compression/hostile.py --count 1000000

# Needs uv and a network; run after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra workflow --extra dev --extra bench --extra ssh --extra ec2 --extra s3 --extra tls --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --output-file envs/requirements.lock

clean:
	rm -rf .venv .snakemake .pytest_cache .mypy_cache .ruff_cache
