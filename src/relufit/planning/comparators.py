"""What gains are stated against: a compressor in an exchange."""

from __future__ import annotations

from dataclasses import dataclass

from relufit import exchange
from relufit.compression import Compressor, make_compressor
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES, find_exchange
from relufit.planning.costs import label, named

_REMEDY = "write it as COMPRESSOR/EXCHANGE, such as fp32/all_reduce"


@dataclass(frozen=True)
class Comparator:
    """A compressor in an exchange.

    Parameters
    ----------
    compressor : Compressor
    exchange : str
        A name of `relufit.exchange.EXCHANGES`.
    """

    compressor: Compressor
    exchange: str

    @classmethod
    def of(cls, text: str) -> Comparator:
        """Return the comparator that a text such as ``fp32/all_reduce`` names.

        Raises
        ------
        ConfigError
            If it names no compressor, no exchange, or not both; or if the compressor is biased: there is no model of
            its iterations.
        """
        name, slash, way = text.partition("/")
        if not (name and slash and way):
            raise ConfigError(f"{text!r}", where="against", remedy=_REMEDY)
        try:
            comparator = cls(named(name), find_exchange(way).name)
        except ConfigError as error:
            raise ConfigError(f"{text!r}: {error.what}", where="against", remedy=error.remedy or _REMEDY) from error
        if comparator.compressor.variance(2) is None:
            raise ConfigError(f"{text!r}: {name} is biased", where="against", remedy="choose an unbiased compressor")
        return comparator

    def __str__(self) -> str:
        """Return the text that `of` reads."""
        return f"{label(self.compressor)}/{self.exchange}"

    @property
    def words(self) -> str:
        """The comparator as readers know it."""
        return f"{label(self.compressor)} over {EXCHANGES[self.exchange].label}"


#: SGD in single precision by all-reduce: without a lossy compressor its sums are those of every other exchange.
BASELINE = Comparator(make_compressor("fp32"), exchange.BASELINE)
