"""The command ``relufit``: one subcommand for each rule of the workflow, each usable by hand."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import relufit
from relufit.cli.process import prepare_process
from relufit.errors import RelufitError
from relufit.interrupts import delivered, interrupt

#: Subcommands in the order in which a workflow uses them; each is a module of this package.
COMMANDS = (
    "config",
    "dataset",
    "train",
    "trials",
    "judge",
    "claims",
    "figure",
    "report",
    "page",
    "manifest",
    "crate",
    "show",
    "compare",
    "compress",
    "cluster",
    "plan",
    "doctor",
)

_REMEDIES = {
    errno.ENOSPC: "free some space on that disk; nothing half-written is left",
    errno.EDQUOT: "your quota is used up; nothing half-written is left",
    errno.EACCES: "make it writable for you, or choose another folder",
    errno.EPERM: "make it writable for you, or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EEXIST: "there is a file where a folder should be; choose another path",
    errno.ENOENT: "check the path",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog="relufit",
        description="Fit a planted ReLU by SGD and quantized SGD on ranks that exchange real bytes, "
        "and judge the paper's claims by the traces.",
        epilog="The whole reproduction is `snakemake --cores all`; its rules call these subcommands.",
    )
    whole.add_argument("--version", action="version", version=f"relufit {relufit.__version__}")
    parts = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"relufit.cli.{name}").add(parts)
    return whole


@delivered()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    It is 0, or 1 for `doctor` where something is missing, 2 for a mistake, 130 when interrupted.
    """
    prepare_process()
    signal.signal(signal.SIGTERM, lambda *_: interrupt())
    try:
        chosen = parser().parse_args(arguments)
        status: int | None = chosen.run(chosen)
        sys.stdout.flush()
    except RelufitError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0, "")
        return _fail(f"{where}{error.strerror or error}{'; ' + remedy if remedy else ''}")
    except RuntimeError as error:
        if not str(error).startswith("Could not determine home"):
            raise
        return _fail("HOME: is not set, and this user has no home; set it to a folder of your own")
    except KeyboardInterrupt:
        print("relufit: interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    return status or 0


def _fail(message: str) -> int:
    print(f"relufit: error: {message}", file=sys.stderr)
    return 2
