"""Asking AWS: clients with deadlines, and its refusals in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from relufit.errors import ClusterError, ConfigError, RelufitError

#: Seconds until a connection to AWS stands, until it answers, and how often a request is made.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 5, 20, 3
_NO_PERMISSION = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
_CREDENTIALS = (
    "AuthFailure",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "UnrecognizedClientException",
)


def client(service: str, region: str) -> Any:  # noqa: ANN401 - boto3 makes its classes as it goes
    """Return a client of one of AWS's services.

    Raises
    ------
    ConfigError
        If boto3 is not installed.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigError(
            f"EC2 needs {error.name}", where="cluster.kind", remedy="install it with `pip install 'relufit[ec2]'`"
        ) from error
    retries = {"max_attempts": _ATTEMPTS, "mode": "standard"}
    config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries=retries)
    with told("AWS", "check the region and AWS's own configuration"):
        return boto3.client(service, region_name=region, config=config)


def code_of(error: BaseException) -> str:
    """Return AWS's code of a refusal, empty for any other error."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def cause_of(error: BaseException) -> BaseException:
    """Return the refusal of AWS that led to an error, or the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if code_of(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def explain(error: BaseException, where: str, remedy: str) -> RelufitError:
    """Return an error that tells what AWS said."""
    code = code_of(error)
    said = str(getattr(error, "response", {}).get("Error", {}).get("Message", "")) or str(error) or type(error).__name__
    if code in _CREDENTIALS:
        return ConfigError(
            f"AWS refuses the credentials ({code}: {said})", where="AWS credentials", remedy="renew or replace them"
        )
    if code in _NO_PERMISSION:
        return ConfigError(
            f"AWS refuses permission ({said})", where=where, remedy="allow it; docs/ec2.md has a policy that does"
        )
    kind = ClusterError if not code else ConfigError if code.startswith("Invalid") else ClusterError
    return kind(f"AWS says {code}: {said}" if code else f"AWS does not answer ({said})", where=where, remedy=remedy)


@contextmanager
def told(where: str, remedy: str) -> Iterator[None]:
    """Turn what AWS or boto3 raise within the block into an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explain(error, where, remedy) from error


def identity(region: str) -> str:
    """Return who the credentials stand for, after AWS has accepted them.

    Raises
    ------
    ConfigError
        If there are none, or AWS refuses them.
    """
    sts = client("sts", region)  # which tells if a package is missing
    import boto3

    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise ConfigError(
            "there are none",
            where="AWS credentials",
            remedy="log in with AWS's own tools, or run this on an instance with a profile",
        )
    with told("AWS credentials", "check the credentials and the network"):
        return str(sts.get_caller_identity()["Arn"])


def secrets() -> list[str]:
    """Return what must never leave this machine: the credentials themselves."""
    import boto3

    credentials = boto3.Session().get_credentials()
    frozen = credentials.get_frozen_credentials() if credentials else None
    return [value for value in (frozen.access_key, frozen.secret_key, frozen.token) if value] if frozen else []
