#!/bin/sh
# Every package of the lock, checked against its hash, then relufit itself, into the conda environment that is active.
# Snakemake runs a copy of this file after it has made the environment, and the workflow tells it where the checkout is.
set -eu
checkout=${RELUFIT_CHECKOUT:-$(cd "$(dirname "$0")/.." && pwd)}
python -m pip install --require-hashes --requirement "$checkout/envs/requirements.lock"
python -m pip install --no-deps --no-build-isolation --editable "$checkout"
