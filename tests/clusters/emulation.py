"""What the tests of the emulated cluster share."""

from __future__ import annotations

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
