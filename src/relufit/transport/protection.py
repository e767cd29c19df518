"""Whether the frames of ranks travel under TLS where Dask's own connections do."""

from __future__ import annotations

import os

from relufit.transport.connections import is_loopback

#: The environment variable of a worker by which whoever opened its cluster says how the frames of ranks travel.
FRAMES_VARIABLE = "RELUFIT_FRAMES"
#: Its only value: without encryption, which would cost more than all else between processes of one machine.
CLEAR = "clear"


def frames_in_clear(host: str) -> bool:
    """Tell whether this process was told to leave frames unencrypted; on a network nobody can have it so.

    Parameters
    ----------
    host : str
        Where this process listens.
    """
    return os.environ.get(FRAMES_VARIABLE) == CLEAR and is_loopback(host)
