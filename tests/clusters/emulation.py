"""What the tests of the emulated cluster share."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from relufit.clusters.emulated import probe

FINDINGS = probe()


def _reason(*names: str) -> str:
    missing = FINDINGS.missing()
    return "; ".join(f"{name}: {missing[name]}" for name in names if name in missing)


#: Skips where the kernel has no namespaces or no links with a rate.
needs_hosts = pytest.mark.skipif(
    not {"namespaces", "hosts", "bridge", "veth", "localnet", "tbf"} <= FINDINGS.works,
    reason=f"no hosts can be emulated here: {_reason('namespaces', 'hosts', 'bridge', 'veth', 'localnet', 'tbf')}",
)
#: Skips where packets cannot be delayed, or lost.
needs_delay = pytest.mark.skipif(
    FINDINGS.delay is None or FINDINGS.loss is None,
    reason=f"no packets can be delayed or lost here: {_reason('netem', 'nfqueue', 'statistic')}",
)


#: Skips where there is no second user to try something as.
needs_a_second_user = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("runuser") is None, reason="needs root, to try it as another user"
)


def as_nobody(folder: Path) -> list[str]:
    """Return what a command begins with that the user ``nobody`` runs.

    Where that user may not enter the folder of the interpreter, it is mounted once more for all to enter, by way of
    `folder` and for this command alone.
    """
    base, words = Path(sys.base_prefix), ["runuser", "-u", "nobody", "--"]
    closed = [path for path in (base, *base.parents) if not path.stat().st_mode & 0o001]
    if not closed:
        return words
    steps = [
        f"mount --rbind {base} {folder}",
        f"mount -t tmpfs -o mode=755 tmpfs {closed[-1]}",
        f"mkdir -p {base}",
        f"mount --rbind {folder} {base}",
        f'exec {" ".join(words)} "$@"',
    ]
    return ["unshare", "--mount", "sh", "-c", " && ".join(steps), "sh"]
