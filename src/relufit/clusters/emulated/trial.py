"""What a network of hosts consists of, tried step by step in namespaces that are thrown away.

Run there as ``python -m ... TABLES...``, with the programs that may set rules for packets; it prints JSON: for each
step its name, and what went wrong, nothing if it works.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from relufit.clusters.emulated.interfaces import Interfaces, bucket, emulator
from relufit.clusters.emulated.namespaces import configure_network, make, mount_memory
from relufit.clusters.emulated.shaping import Link
from relufit.errors import ClusterError

_LINK = Link(rate=1e9, round_trip=2e-3)
_QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")


def main(tables: list[str]) -> list[tuple[str, str]]:
    """Try everything; a step that needs an earlier one that failed fails as well."""
    outcomes = [_tried("namespaces", lambda: mount_memory("/run"))]
    with Interfaces() as interfaces:
        steps: dict[str, Callable[[], object]] = {
            "hosts": lambda: make("host-0"),
            "bridge": lambda: interfaces.bridge("data"),
            "veth": lambda: interfaces.pair("p0", "p1"),
            "localnet": configure_network,
            "tbf": lambda: interfaces.queue("p0", bucket(_LINK)),
            "netem": lambda: interfaces.queue("p0", emulator(_LINK)),
        }
        outcomes += [_tried(name, step) for name, step in steps.items()]
    for program in tables:
        rule = [program, "-w", "-t", "raw", "-A", "PREROUTING"]
        outcomes.append(_tried(f"statistic.{program}", lambda: _run(*rule, *_LOSS)))  # noqa: B023 - called at once
        outcomes.append(_tried(f"nfqueue.{program}", lambda: _run(*rule, *_QUEUE)))  # noqa: B023
    return outcomes


_LOSS = ("-m", "statistic", "--mode", "random", "--probability", ".5", "-j", "DROP")
_QUEUE = ("-j", "NFQUEUE", "--queue-num", "0")


def _tried(name: str, step: Callable[[], object]) -> tuple[str, str]:
    try:
        step()
        if name.startswith("nfqueue") and not _QUEUES.exists():
            return name, "the kernel tells nobody of queued packets"
    except OSError as error:
        return name, error.strerror or str(error)
    except ClusterError as error:
        return name, error.what
    return name, ""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(" ".join(done.stderr.split()) or "it fails")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
