"""A network of hosts on this machine, without root: namespaces, links with a rate, a delay and a loss, and Dask on it.

See docs/emulated.md.
"""

from relufit.clusters.emulated.findings import Findings, probe
from relufit.clusters.emulated.kind import Emulated, Refused, open_emulated, open_kind

__all__ = ["Emulated", "Findings", "Refused", "open_emulated", "open_kind", "probe"]
