"""A Dask cluster that is started on hosts over SSH, and ends with the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from relufit.clusters.ssh.hosts import check_hosts
from relufit.clusters.ssh.options import KEY, read
from relufit.clusters.ssh.processes import run_within, started
from relufit.clusters.versions import check_versions
from relufit.clusters.workers import DaskCluster, wait_for_slots

__all__ = ["open_ssh"]


@contextmanager
def open_ssh(options: Mapping[str, Any], workers: int) -> Iterator[DaskCluster]:
    """Start a scheduler and workers on some hosts, and stop them whatever happens.

    Parameters
    ----------
    options : dict
        What `relufit.clusters.ssh.options.SshSection` describes.
    workers : int
        Ranks of the run; a worker more has the master.

    Raises
    ------
    ConfigError
        If the options are impossible, or asyncssh is missing.
    ClusterError
        If a host cannot be reached or lets nobody in, lacks Python, relufit or a file, has other versions, or
        something does not start in time.
    """
    from distributed.utils import LoopRunner

    asked = read(options, workers)
    runner = LoopRunner()
    runner.start()
    try:
        run_within(runner, check_hosts(asked), asked.seconds, "the hosts were not all looked at")
        with started(runner, asked) as client:
            count = asked.workers
            wait_for_slots(client, enough=count, wanted=count, seconds=asked.seconds, where=KEY)
            check_versions(client, where=KEY, seconds=asked.seconds)
            tls = asked.security is not None
            yield DaskCluster(client, {"kind": "ssh", "hosts": len(asked.hosts), "workers": count, "tls": tls})
    finally:
        with suppress(Exception):
            runner.stop()
