"""What gains are stated against: a compressor in an exchange."""

from __future__ import annotations

from dataclasses import dataclass

from relufit import exchange
from relufit.compression import Compressor, make_compressor
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES, find_exchange
from relufit.planning.costs import FEEDBACK, label, named

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
            If it names no compressor, no exchange, or not both; or if iterations are not predicted: a biased compressor
            has error feedback, as ``sign+feedback``, and no other one.
        """
        word, slash, way = text.partition("/")
        name = word.removesuffix(FEEDBACK)
        if not (name and slash and way):
            raise ConfigError(f"{text!r}", where="against", remedy=_REMEDY)
        try:
            comparator = cls(named(name), find_exchange(way).name)
        except ConfigError as error:
            raise ConfigError(f"{text!r}: {error.what}", where="against", remedy=error.remedy or _REMEDY) from error
        biased = comparator.compressor.variance(2) is None
        if comparator.compressor.encoding(2) is None:
            what = f"{text!r}: {name} does not state how much of a vector it keeps"
            raise ConfigError(what, where="against", remedy="choose another compressor")
        if biased and name == word:
            what, remedy = f"{text!r}: {name} is biased", f"choose an unbiased compressor, or write {name}{FEEDBACK}"
            raise ConfigError(what, where="against", remedy=remedy)
        if name != word and not biased:
            what, remedy = f"{text!r}: {name} is unbiased, and planned without error feedback", f"write {name}/{way}"
            raise ConfigError(what, where="against", remedy=remedy)
        return comparator

    def __str__(self) -> str:
        """Return the text that `of` reads."""
        return f"{self._coded}/{self.exchange}"

    @property
    def words(self) -> str:
        """The comparator as readers know it."""
        return f"{self._coded} over {EXCHANGES[self.exchange].label}"

    @property
    def _coded(self) -> str:
        biased = self.compressor.variance(2) is None
        return label(self.compressor) + FEEDBACK * biased


#: SGD in single precision by all-reduce: without a lossy compressor its sums are those of every other exchange.
BASELINE = Comparator(make_compressor("fp32"), exchange.BASELINE)
