"""The claims of the paper's abstract, in its words, what else a reader should know, and the verdict on each."""

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
    """A statement, and the verdicts that bear on it.

    Parameters
    ----------
    name : str
    words : str
        In `CLAIMS` a quotation of the abstract; in `FINDINGS` our own.
    topics : tuple of str
        The topics under which experiments file the verdicts that bear on it.
    condition : str
        Under what condition it holds, as far as these experiments go.
    """

    name: str
    words: str
    topics: tuple[str, ...]
    condition: str


CLAIMS = (
    Claim(
        "geometric_convergence",
        "mini-batch stochastic gradient descent when suitably initialized, converges at a geometric rate to the "
        "planted model",
        ("geometric rate", "initial weights"),
        "Without label noise; from w0 = (2/n) sum y x; at the step 2m/(m + 2d + 3), best for fresh samples. The rate "
        "is 1 - m/(m + 2d + 3) for fresh samples, lower on fixed data, and falls to nothing as n/d falls to 2. "
        "Rows drawn with replacement have a closed form; reshuffled epochs are faster and have none.",
    ),
    Claim(
        "sample_complexity",
        "with a number of samples that is optimal up to numerical constants",
        ("samples",),
        "n = 2d samples are needed, as d active rows determine w*; within a stated budget of steps, gradient methods "
        "need a little more, by a factor that does not grow with d.",
    ),
    Claim(
        "qsgd_convergence",
        "QSGD maintains the fast convergence of SGD to a globally optimal model",
        ("fast convergence",),
        "With a step that follows the quantizer's variance omega. The speed is that of SGD from about s = sqrt(d) "
        "levels on; for m << d fewer levels take 1 + omega times the iterations.",
    ),
    Claim(
        "communication",
        "while significantly reducing the communication cost",
        ("communication",),
        "In bytes that the ranks send, to the same error, with an entropy code and about s = sqrt(d) / 2 levels. A "
        "master that returns the weights uncompressed sends as much as ever: the whole saving needs all-to-all "
        "exchange, or a master that passes the encoded gradients on.",
    ),
    Claim(
        "network",
        "distributed implementations over Amazon EC2",
        ("network",),
        "Nothing here has run on Amazon EC2. Hosts are emulated on one machine: real TCP over links with a rate and a "
        "round trip. QSGD gains where links are slow and gradients travel alone, from rank to rank or passed on by a "
        "master; with a master that returns the weights in fp64, or on fast links, it gains little or nothing.",
    ),
)

FINDINGS = (
    Claim(
        "other_starts",
        "The initial weights are sufficient but not needed: gradient descent reaches w* from every other start that "
        "was tried, but for exactly zero, where it never moves.",
        ("other starts",),
        "Full-batch gradient descent.",
    ),
    Claim(
        "least_squares",
        "Least squares on the rows with y > 0 solves the problem in one go, as soon as there are d of them.",
        ("least squares",),
        "Without label noise.",
    ),
    Claim(
        "shipping_rows",
        "Shipping the active rows once and solving least squares costs fewer bytes than a run of SGD in fp32.",
        ("shipping rows",),
        "At the n, d, m, K of the experiment; against QSGD with an entropy code it may cost more.",
    ),
    Claim(
        "larger_batches",
        "A larger batch alone saves bytes: iterations fall as 1/m until m is about 2d.",
        ("larger batches",),
        "Each rank sends one gradient an iteration, however many samples are in it.",
    ),
    Claim(
        "unadapted_step",
        "With SGD's own step QSGD diverges where omega is above 1, which is where levels are few.",
        ("unadapted step",),
        "Small batches, m << d.",
    ),
    Claim(
        "dense_codes",
        "At s = 1 a code without entropy coding costs more bytes to the same error than no quantization at all.",
        ("dense codes",),
        "QSGD with the l2 norm of the whole gradient.",
    ),
    Claim(
        "label_noise",
        "Label noise leaves a floor, which quantization raises as 1 + omega.",
        ("label noise",),
        "Constant step.",
    ),
    Claim(
        "other_inputs",
        "Inputs that are not Gaussian but uncorrelated converge at the same rate; correlated ones more slowly.",
        ("other inputs",),
        "Rademacher, uniform and t inputs; autoregressive ones with coefficient 1/2.",
    ),
    Claim(
        "modelled_seconds",
        "Where the network dominates, every way to exchange and encode takes, within 15 %, the seconds of the "
        "alpha-beta model with costs measured in the same run, and those of `relufit plan` with costs of its own.",
        ("modelled seconds",),
        "Hosts emulated on one machine. They share its processors and wait for them, which neither knows of: the more "
        "hosts and the more traffic in all, the farther some ways are off.",
    ),
)


def summarise(claims: tuple[Claim, ...], experiments: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each statement with its verdict and the experiments that bear on it.

    Parameters
    ----------
    claims : tuple of Claim
        `CLAIMS` or `FINDINGS`.
    experiments : dict
        For each experiment its judgement: ``verdicts``, a mapping from topics to lists of verdicts.
    """
    found = []
    for claim in claims:
        bearing = {
            name: [verdict["verdict"] for topic in claim.topics for verdict in judged["verdicts"].get(topic, [])]
            for name, judged in experiments.items()
        }
        bearing = {name: verdicts for name, verdicts in bearing.items() if verdicts}
        found.append(
            {
                "claim": claim.name,
                "words": claim.words,
                "verdict": combine(v for verdicts in bearing.values() for v in verdicts) if bearing else INCONCLUSIVE,
                "condition": claim.condition,
                "experiments": {name: combine(verdicts) for name, verdicts in bearing.items()},
                "note": "" if bearing else "no experiment of this run bears on it",
            }
        )
    return found
