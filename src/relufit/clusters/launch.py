"""Runs a command of Dask's with Dask's defaults and a private folder, whatever this user's configuration says.

``python -m relufit.clusters.launch MODULE WORDS...`` is ``python -m MODULE WORDS...``; the folder, which Dask puts on
the import path, is made before Dask is imported and removed when the process has ended, even if it is killed.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from relufit.clusters.scratch import TemporaryFolder, check_private

#: The variable with a folder that has been made already, and that somebody else removes.
SCRATCH_VARIABLE = "RELUFIT_SCRATCH"
_VARIABLE = "DASK_TEMPORARY_DIRECTORY"


def main(module: str, words: list[str]) -> None:
    """Run a module of Dask as a program."""
    given = os.environ.get(SCRATCH_VARIABLE)
    if given:
        folder = Path(given)
        check_private(folder)
    else:
        temporary = TemporaryFolder()  # the pipe of which ends with this function's process
        folder = temporary.path
    _settle(folder)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _settle(folder: Path) -> None:
    """Let this process, and those that it starts, follow Dask's defaults, or what has been sent with the command."""
    import dask

    from relufit.clusters.settings import INHERITED, use_defaults

    use_defaults({"temporary-directory": str(folder)}, os.environ.get(INHERITED, ""))
    for name in [name for name in os.environ if name.startswith("DASK_")]:
        del os.environ[name]
    os.environ[INHERITED] = dask.config.serialize(dask.config.config)
    os.environ[_VARIABLE] = str(folder)


if __name__ == "__main__":
    # Dask's SSH cluster has `-m` behind what it takes for the interpreter.
    _module, *_words = sys.argv[2:] if sys.argv[1] == "-m" else sys.argv[1:]
    main(_module, _words)
