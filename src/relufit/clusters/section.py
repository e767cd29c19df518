"""The section ``cluster`` of the configuration: a kind, what each kind needs, and how long ranks wait."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from relufit.clusters import KINDS
from relufit.clusters.address.options import AddressSection
from relufit.clusters.ec2.options import Options as Ec2Section
from relufit.clusters.emulated.options import NetworkSection
from relufit.clusters.ssh.options import SshSection
from relufit.errors import ConfigError, shown
from relufit.pipeline.config import read
from relufit.pipeline.config_values import parse_mapping, plain
from relufit.schema import LEFT_OUT, Section, checked
from relufit.transport.timeouts import Timeouts


class ClusterSection(Section):
    """Where ranks run that exchange bytes."""

    WHERE: ClassVar[str] = "cluster"

    kind: Literal[tuple(KINDS)] = Field(  # type: ignore[valid-type]
        description="this process; processes of this machine; a running scheduler; hosts over SSH, emulated, or on EC2"
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="how long ranks wait for each other, in seconds")
    address: AddressSection = Field(default=LEFT_OUT, description="a running Dask scheduler, by address or file")
    ssh: SshSection = Field(default=LEFT_OUT, description="hosts on which Dask is started over SSH")
    emulated: NetworkSection = Field(default=LEFT_OUT, description="hosts on this machine; docs/emulated.md")
    ec2: Ec2Section = Field(default=LEFT_OUT, description="instances on EC2; docs/ec2.md says what each key is")


def load_cluster(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Any]:
    """Return the checked section ``cluster`` of some YAML files, which need not have any other.

    Raises
    ------
    ConfigError
        If a file cannot be read, has no such section, or the section is not valid.
    """
    section = read(paths).get("cluster")
    if section is None:
        raise ConfigError("missing", where="cluster", remedy="add a section `cluster:`")
    return checked(ClusterSection, section)


def cluster(kind: str, options: str) -> dict[str, Any]:
    """Return the section ``cluster`` of one kind, with options written as a YAML mapping, braces or not; checked.

    Raises
    ------
    ConfigError
        If `options` is no mapping, or not possible for that kind.
    """
    text = options if options.lstrip().startswith("{") else f"{{{options}}}"
    try:
        content = plain(parse_mapping(text, where="cluster options", remedy="write `key: value, key: value`"))
    except ConfigError as error:
        if not error.what.startswith("is not YAML"):
            raise
        raise ConfigError(f"{shown(options)} is not YAML", where=error.where, remedy=error.remedy) from error
    return checked(ClusterSection, {"kind": kind, kind: content}) if content else {"kind": kind}
