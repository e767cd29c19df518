# The workflow in a container: every package of the lock, checked against its hash, then relufit itself.
# Untested, but for what a parser sees: no image could be fetched where this was written (docs/workflow.md).
FROM python:3.12-slim-bookworm
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git iptables make \
 && rm -rf /var/lib/apt/lists/*
COPY envs/requirements.lock /opt/relufit/envs/requirements.lock
RUN python -m pip install --no-cache-dir --require-hashes --requirement /opt/relufit/envs/requirements.lock
COPY . /opt/relufit
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation /opt/relufit
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/relufit/Snakefile"]
CMD ["--cores", "all"]
