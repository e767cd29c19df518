"""The section ``cluster.address``."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from relufit.clusters.tls_files import TlsFiles
from relufit.schema import Positive, Section, Text, refused


class AddressSection(Section):
    """A Dask scheduler that runs already."""

    WHERE: ClassVar[str] = "cluster.address"

    address: Text | None = Field(default=None, description="its address, such as tls://10.0.0.1:8786")
    scheduler_file: Text | None = Field(default=None, description="what dask scheduler --scheduler-file wrote")
    tls: TlsFiles | None = Field(default=None, description="needed unless everything is on loopback")
    timeout: Positive = Field(
        default=30.0, description="seconds for the scheduler to be there, and again for enough workers"
    )

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        given = [name for name in ("address", "scheduler_file") if getattr(self, name)]
        if len(given) != 1:
            what = f"{' and '.join(given) or 'neither address nor scheduler_file'} given"
            raise refused(what, "give one of address and scheduler_file")
        return self
