"""The namespaces as seen from outside: started, asked, and gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import Any

from relufit import errors
from relufit.clusters.emulated.findings import UNSHARE, search_path
from relufit.errors import ClusterError, RelufitError

_MOST_BYTES = 1 << 17
_ENDING_SECONDS = 10


class Session:
    """A process tree in namespaces of its own, whose first process does what it is asked.

    Everything in it ends when this is closed, and when this process dies in whatever way.

    Raises
    ------
    ClusterError
        If the system does not allow it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        with ExitStack() as given:
            listening = given.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            self.port: int = listening.getsockname()[1]
            # Both belong to the network of this process, whoever has them.
            table = os.open("/proc/self/net/tcp", os.O_RDONLY)
            given.callback(os.close, table)
            watched = os.pidfd_open(os.getpid())
            given.callback(os.close, watched)
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            given.enter_context(theirs)
            self._log = os.memfd_create("relufit-emulated")
            descriptors = [theirs.fileno(), watched, listening.fileno(), table]
            words = [*map(str, descriptors), str(os.getuid())]
            self._process = subprocess.Popen(
                [*UNSHARE, sys.executable, "-m", "relufit.clusters.emulated.init", *words],
                env={**os.environ, "PATH": search_path(), "TMPDIR": "/run", "XTABLES_LOCKFILE": "/run/xtables.lock"},
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                # An interrupt from the keyboard is for this process, which then closes everything in order.
                start_new_session=True,
            )

    def ask(self, command: str, deadline: float, **arguments: Any) -> Any:  # noqa: ANN401 - any JSON
        """Have a command done and return its answer.

        Raises
        ------
        RelufitError
            As it was raised inside.
        ClusterError
            If there is no answer within `deadline` seconds, or nobody to give one.
        """
        with self._lock:
            try:
                self._control.settimeout(deadline)
                self._control.sendall(json.dumps({"command": command, **arguments}).encode())
                reply = self._control.recv(_MOST_BYTES)
            except TimeoutError as error:
                self.close()
                raise ClusterError(f"no answer to {command} within {deadline:g} s", where="cluster.emulated") from error
            except OSError:
                # What was said last may say why nobody is there any more.
                reply = self._last_words()
        if not reply:
            raise ClusterError(f"the emulated network is gone ({self.log()})", where="cluster.emulated")
        message = json.loads(reply)
        if "error" in message:
            kind, what, where, remedy = message["error"]
            known = getattr(errors, kind, ClusterError)
            mistake = known if isinstance(known, type) and issubclass(known, RelufitError) else ClusterError
            raise mistake(what, where=where, remedy=remedy)
        return message["answer"]

    def log(self) -> str:
        """Return the last that the first process, and those that it started, have written."""
        try:
            size = os.fstat(self._log).st_size
            return os.pread(self._log, 2000, max(0, size - 2000)).decode(errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """End everything, and wait until it has ended."""
        with suppress(OSError):
            # A process that was forked from this one may have the socket as well.
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_ENDING_SECONDS)
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _last_words(self) -> bytes:
        for _ in range(2):  # an error of the socket comes before what was sent
            with suppress(OSError):
                self._control.settimeout(1)
                return self._control.recv(_MOST_BYTES)
        return b""
