"""The claims of the paper's abstract, in its words, and the verdict on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relufit.claims.verdict import INCONCLUSIVE, combine

SOURCE = (
    "S. M. Mousavi Kalan, M. Soltanolkotabi, A. S. Avestimehr, Fitting ReLUs via SGD and Quantized SGD, "
    "ISIT 2019, arXiv:1901.06587; only the abstract was at hand, and every setting is this project's own"
)


@dataclass(frozen=True)
class Claim:
    """A claim, in the abstract's words, and the statistics that bear on it.

    `topics` are the topics under which experiments file their verdicts.
    """

    name: str
    words: str
    topics: tuple[str, ...]


CLAIMS = (
    Claim(
        "geometric_convergence",
        "mini-batch stochastic gradient descent when suitably initialized, converges at a geometric rate to the "
        "planted model",
        ("geometric rate",),
    ),
    Claim(
        "sample_complexity",
        "with a number of samples that is optimal up to numerical constants",
        ("samples",),
    ),
    Claim(
        "qsgd_convergence",
        "QSGD maintains the fast convergence of SGD to a globally optimal model",
        ("fast convergence",),
    ),
    Claim("communication", "while significantly reducing the communication cost", ("communication",)),
    Claim(
        "network",
        "distributed implementations over Amazon EC2",
        ("network",),
    ),
)


def summarise(experiments: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each claim with its verdict and the experiments that bear on it.

    Parameters
    ----------
    experiments : dict
        For each experiment its judgement: ``verdicts``, a mapping from topics to lists of verdicts.
    """
    claims = []
    for claim in CLAIMS:
        bearing = {
            name: [verdict for topic in claim.topics for verdict in judged["verdicts"].get(topic, [])]
            for name, judged in experiments.items()
        }
        bearing = {name: verdicts for name, verdicts in bearing.items() if verdicts}
        found = [verdict["verdict"] for verdicts in bearing.values() for verdict in verdicts]
        claims.append(
            {
                "claim": claim.name,
                "words": claim.words,
                "verdict": combine(found) if found else INCONCLUSIVE,
                "experiments": list(bearing),
                "note": "" if found else "no experiment of this run bears on it",
            }
        )
    return claims
