"""Browsers, ssh, credentials, optional packages: what there is of them, which decides no reproduction."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from relufit.clusters.emulated.findings import search_path
from relufit.doctor.line import Line, Sign

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "firefox")
#: What AWS's own tools read credentials from: variables, and variables that name files with their defaults.
_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
#: Optional packages: what each is for, and the extra of this project that has it.
_EXTRAS = {
    "asyncssh": ("clusters over ssh", "ssh"),
    "boto3": ("clusters on EC2", "ec2"),
    "dask_cloudprovider": ("clusters on EC2", "ec2"),
    "s3fs": ("data sets on S3", "s3"),
    "mpi4py": ("the comparison with MPI in `make bench`", "bench"),
}


def surrounding_lines() -> list[Line]:
    """Return what is there, by looking at paths and names of variables alone; nothing is asked over a network."""
    return [_browser(), *_ssh(), _credentials(), *_extras()]


def _browser() -> Line:
    browser = next((name for name in _BROWSERS if shutil.which(name)), None)
    if browser:
        return Line("browser", Sign.NOTE, f"{browser} is installed")
    return Line(
        "browser",
        Sign.NOTE,
        "no browser is installed",
        "the report is read elsewhere; tests that open it are skipped",
        "`apt-get install chromium`",
    )


def _ssh() -> Iterator[Line]:
    for name, package, what in (
        ("ssh", "openssh-client", "hosts are reached by asyncssh, and by hand not at all"),
        ("sshd", "openssh-server", "tests of clusters over ssh are skipped"),
    ):
        if shutil.which(name, path=search_path()):
            yield Line(name, Sign.NOTE, f"{name} is installed")
        else:
            yield Line(name, Sign.NOTE, f"{name} is not installed", what, f"`apt-get install {package}`")


def _credentials() -> Line:
    places = [name for name in _VARIABLES if os.environ.get(name)]
    for variable, usual in _FILES.items():
        path = Path(os.path.expanduser(os.environ.get(variable) or usual))  # noqa: PTH111 - which fails without HOME
        if path.is_absolute() and path.is_file():
            places.append(str(path))
    if places:
        return Line("AWS credentials", Sign.NOTE, f"AWS credentials may be found by way of {', '.join(places)}")
    return Line("AWS credentials", Sign.NOTE, "no AWS credentials", "clusters on EC2 need some", "see docs/ec2.md")


def _extras() -> Iterator[Line]:
    for package, (purpose, extra) in _EXTRAS.items():
        if find_spec(package):
            yield Line(package, Sign.NOTE, f"{package} is installed, for {purpose}")
        else:
            yield Line(
                package,
                Sign.NOTE,
                f"{package} is not installed: it is for {purpose}",
                "",
                f"pip install 'relufit[{extra}]'",
            )
