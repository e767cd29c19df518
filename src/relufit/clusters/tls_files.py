"""The sections ``tls`` of kinds of clusters."""

from __future__ import annotations

from pydantic import Field

from relufit.schema import Section, Text


class TlsFiles(Section):
    """PEM files by their paths, which are the same for the scheduler, the workers and this program."""

    ca_file: Text = Field(description="path of the authority's certificate")
    cert: Text = Field(description="path of the certificate")
    key: Text = Field(description="path of its key")
