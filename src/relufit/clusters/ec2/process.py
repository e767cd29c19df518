"""A process of Dask on an instance, with a scratch folder that nobody else can enter or know beforehand.

    python -m relufit.clusters.ec2.process distributed.cli.dask_scheduler ...

Dask puts its scratch folder on the import path, and by default that is one for all users of a machine.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile


def main() -> None:
    """Run a module of Dask with the arguments that follow its name."""
    import dask

    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="relufit-", ignore_cleanup_errors=True) as folder:
        dask.config.set({"temporary-directory": folder})
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
