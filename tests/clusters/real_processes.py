"""Real Dask processes and a real SSH server, on loopback, and what they need: certificates, keys, other versions."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from waiting import address_in, until

from relufit.clusters import open_cluster
from relufit.errors import ClusterError, ConfigError, RelufitError

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
#: Where this relufit is, for processes that do not have the environment of the tests.
SOURCE = ROOT / "src"

#: Put first on a path as sitecustomize.py, it hides relufit from a process.
WITHOUT_RELUFIT = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "relufit":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
"""

ANOTHER_PYTHON = """
import sys
from collections import namedtuple

sys.version_info = namedtuple("Version", "major minor micro releaselevel serial")(3, 9, 1, "final", 0)
"""


def environment(*first: Path) -> dict[str, str]:
    """The environment of a process that finds modules in some folders first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*first, SOURCE)))}


def doctored(folder: Path, package: str, version: str) -> Path:
    """A folder that makes a package look like another version of it."""
    about = folder / f"{package}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return folder


def of_another_python(folder: Path) -> Path:
    """A module that, preloaded by Dask, makes a process look like one of another Python."""
    folder.mkdir(parents=True)
    (folder / "another_python.py").write_text(ANOTHER_PYTHON)
    return folder / "another_python.py"


def of_other_code(folder: Path) -> Path:
    """A copy of relufit in which one file is another."""
    shutil.copytree(SOURCE / "relufit", folder / "relufit", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "relufit/planted/model.py").open("a") as file:
        file.write("# edited\n")
    return folder


def without_relufit(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(WITHOUT_RELUFIT)
    return folder


def make_certificate(folder: Path, name: str = "relufit") -> dict[str, str]:
    """A certificate that is its own authority, as the documentation makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return {"ca_file": str(cert), "cert": str(cert), "key": str(key)}


def tls_options(tls: dict[str, str] | None) -> list[str]:
    return [f"--tls-{name.replace('_', '-')}={path}" for name, path in tls.items()] if tls else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Dask:
    """A scheduler and workers as a person starts them; what is started within is stopped in the end."""

    folder: Path
    tls: dict[str, str] | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def scheduler_file(self) -> Path:
        return self.folder / "scheduler.json"

    def run(self, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(BIN / "dask"), *command],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**(env or environment()), "DASK_DISTRIBUTED__SCHEDULER__EVENTS_CLEANUP_DELAY": "1s"},
                umask=0o022,
            )
        self.processes.append(process)
        return process

    def scheduler(self, env: dict[str, str] | None = None) -> None:
        listening = [f"--protocol={'tls' if self.tls else 'tcp'}", "--host=127.0.0.1", "--port=0"]
        listening += ["--dashboard-address=127.0.0.1:0", f"--scheduler-file={self.scheduler_file}"]
        self.run("scheduler", *listening, *tls_options(self.tls), env=env)
        address_in(self.scheduler_file)

    def worker(self, *more: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        options = [f"--scheduler-file={self.scheduler_file}", "--nthreads=1", "--resources=slot=1", *more]
        options += ["--host=127.0.0.1"]
        options += ["--dashboard-address=127.0.0.1:0", f"--local-directory={self.folder}", "--memory-limit=0"]
        return self.run("worker", *options, *tls_options(self.tls), env=env)

    def stop(self) -> None:
        """Stop the workers, then the scheduler, which they take their leave of."""
        for process in self.processes[1:]:
            process.send_signal(signal.SIGTERM)
        for process in [*self.processes[1:], *self.processes[:1]]:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(300)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def dask(folder: Path, workers: int, tls: dict[str, str] | None = None) -> Iterator[Dask]:
    folder.mkdir(parents=True, exist_ok=True)
    started = Dask(folder, tls)
    try:
        started.scheduler()
        for _ in range(workers):
            started.worker()
        yield started
    finally:
        started.stop()


@dataclass(frozen=True)
class Sshd:
    """An SSH server on a high port of loopback, and what a client of it needs."""

    port: int
    known_hosts: Path
    client_key: Path
    log: Path

    @property
    def connect(self) -> dict[str, object]:
        return {"port": self.port, "known_hosts": str(self.known_hosts), "client_key": str(self.client_key)}


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def sshd(folder: Path, program: str, path: str) -> Iterator[Sshd]:
    """Run a server as the current user; its sessions find modules on `path`."""
    folder.mkdir(parents=True)
    host, client, port = make_key(folder / "host"), make_key(folder / "client"), free_port()
    (folder / "authorized_keys").write_text(client.with_suffix(".pub").read_text())
    kind, public = host.with_suffix(".pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {public}\n[localhost]:{port} {kind} {public}\n")
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host}\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 50\nSetEnv PYTHONPATH={path}\n"
    )
    log = folder / "sshd.log"
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([program, "-D", "-f", str(config), "-E", str(log)])
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(answers, "sshd has not started")
        yield Sshd(port, folder / "known_hosts", client, log)
    finally:
        process.terminate()
        process.wait()


def refusal(config: dict[str, Any], workers: int = 1) -> RelufitError:
    """Return the error that opening a cluster gives, which names a key of its kind and a remedy."""
    with pytest.raises((ClusterError, ConfigError)) as caught, open_cluster(config, workers):
        pass
    assert caught.value.where.startswith(f"cluster.{config['kind']}")
    assert caught.value.remedy
    return caught.value
