"""The claims of the paper's abstract, in its words, what else a reader should know, and the verdict on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relufit.claims.topics import Topic
from relufit.claims.verdict import DESCRIBED, INCONCLUSIVE, combine

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
    topics : tuple of Topic
        The topics under which experiments file the verdicts that bear on it.
    condition : str
        Under what condition it holds, as far as these experiments go.
    """

    name: str
    words: str
    topics: tuple[Topic, ...]
    condition: str


CLAIMS = (
    Claim(
        "geometric_convergence",
        "mini-batch stochastic gradient descent when suitably initialized, converges at a geometric rate to the "
        "planted model",
        (Topic.GEOMETRIC_RATE, Topic.INITIAL_WEIGHTS),
        "Without label noise; from w0 = (2/n) sum y x; at the step 2m/(m + 2d + 3), best for fresh samples. The rate "
        "is 1 - m/(m + 2d + 3) for fresh samples, lower on fixed data, and falls to nothing as n/d falls to 2. "
        "Rows drawn with replacement have a closed form; reshuffled epochs are faster and have none. Whether "
        "other starts do as well depends on n/d, see the findings on other starts and on the initialization scale.",
    ),
    Claim(
        "sample_complexity",
        "with a number of samples that is optimal up to numerical constants",
        (Topic.SAMPLES,),
        "n = 2d samples are needed in the mean, as d active rows determine w*. Within a stated budget of steps "
        "gradient methods need more; the n/d at which half of the trials succeed does not grow with d, over the "
        "dimensions tried.",
    ),
    Claim(
        "qsgd_convergence",
        "QSGD maintains the fast convergence of SGD to a globally optimal model",
        (Topic.FAST_CONVERGENCE,),
        "With a step that follows the quantizer's variance omega, for m << d: iterations are 1 + omega times those of "
        "SGD, 1.17 times at s = sqrt(d) levels and about 26 times with one level at d = 1000. The judged settings are "
        "s >= sqrt(d) with the l2 norm, and few levels with the max norm.",
    ),
    Claim(
        "communication",
        "while significantly reducing the communication cost",
        (Topic.COMMUNICATION, Topic.ALL_REDUCE),
        "In bytes to the same error, with an entropy code, at the settings by which the speed is judged too, against "
        "two comparators. Against fp32 in the same exchange: the downlink of a master that returns the weights "
        "uncompressed is not reduced; the whole saving needs an all-gather, or a master that passes the encoded "
        "gradients on. Against fp32 by all-reduce: the saving of an all-gather is 2/K of that, and is lost as K grows; "
        "with a master that returns fp64 weights more bytes are sent. The bytes of all-reduce are counted, in the "
        "measured iterations of fp32; where sums are encoded again, it was run.",
    ),
    Claim(
        "network",
        "distributed implementations over Amazon EC2",
        (Topic.NETWORK,),
        "Nothing here has run on Amazon EC2. Hosts are emulated on one machine: real TCP over links with a rate and a "
        "round trip. Gains are judged against the alpha-beta model, exchange by exchange.",
    ),
)

FINDINGS = (
    Claim(
        "other_starts",
        "With enough samples the moment estimate w0 is sufficient but not needed: gradient descent reaches w* from "
        "each of 13 other starts that were tried. From exactly zero it never moves.",
        (Topic.OTHER_STARTS,),
        "Tried by config.yaml: full-batch gradient descent, d = 100, n/d = 3, 4 and 10, 40 data sets for each start, "
        "10,000 steps. That starts fail in a few per cent of the data sets is not excluded. Nearer to n = 2d, see the "
        "finding on the initialization scale.",
    ),
    Claim(
        "initialization_scale",
        "Near n = 2d the scale of the initial weights matters: from 100 times the norm of w* gradient descent, SGD and "
        "QSGD reach w* less often than from the moment estimate. A random direction of the norm of w* is not much "
        "worse than the moment estimate, and at n/d = 4 all of these starts lead to w*.",
        (Topic.INITIALIZATION_SCALE,),
        "Tried by config.yaml: random directions, d = 50. Near n = 2d stands for n/d = 2.2 and 2.4 with gradient "
        "descent (20,000 steps), 2.4 with SGD and QSGD (5,000 iterations, optimal steps). In between shares are shown "
        "without a verdict: no theory used here predicts them.",
    ),
    Claim(
        "least_squares",
        "Least squares on the rows with y > 0 solves the problem in one go, as soon as there are d of them.",
        (Topic.LEAST_SQUARES,),
        "Without label noise.",
    ),
    Claim(
        "against_all_reduce",
        "Against fp32 by all-reduce an all-gather of QSGD saves 2/K of what it saves against fp32 in an all-gather: "
        "nothing once there are enough ranks.",
        (Topic.ALL_REDUCE,),
        "Iterations were measured at the K of the experiment; the bytes of all-reduce are counted, and gains at other "
        "K, from 2 to 64, are modelled, see the figure of gains by ranks. A master that encodes the sum again, or an "
        "all-reduce that encodes parts and sums, keeps more of the saving; where parts are short their headers and "
        "norms count.",
    ),
    Claim(
        "shipping_rows",
        "Shipping the active rows once and solving least squares costs fewer bytes than a run of SGD in fp32.",
        (Topic.SHIPPING_ROWS,),
        "At the n, d, m, K of the experiment; against QSGD with an entropy code it may cost more.",
    ),
    Claim(
        "larger_batches",
        "A larger batch alone saves bytes: iterations fall nearly as 1/m while m is much smaller than 2d.",
        (Topic.LARGER_BATCHES,),
        "Each rank sends one gradient an iteration, however many samples are in it. At m = 2d + 3 a run takes 1.44 "
        "times the samples of m = 1.",
    ),
    Claim(
        "local_steps",
        "Local steps between two exchanges save bytes without a code, though fewer than a mini-batch as many times "
        "larger does; QSGD saves on top of that.",
        (Topic.LOCAL_STEPS,),
        "Fresh samples, exchanged by all-reduce, each run at its best step, at the d, m, K of the experiment. A "
        "mini-batch of H m has the samples of H local steps. Where H m is far above 2d the prediction has local steps "
        "ahead of it; that was not run.",
    ),
    Claim(
        "reference_methods",
        "Methods of the references do what theory says of them, with QSGD too: Kaczmarz steps and GLM-tron have nearly "
        "the rate of SGD, GLM-tron leaves zero, where SGD stays, signSGD by majority vote converges at a step that is "
        "halved, delayed gradients converge at the rate of their recursion, and the mean of the weights gets below the "
        "floor that label noise leaves.",
        (Topic.REFERENCE_METHODS,),
        "Fresh samples, at the d, m, K of the experiment: iterations within 7 %, with delays within 5 %, squared "
        "errors under label noise within 10 %. From zero, and along single rows, without QSGD. Steps of votes are "
        "halved by a rule that follows from theory. A delay is the same at every step and on every rank. The weights "
        "are averaged from where they have come to rest, at a constant step.",
    ),
    Claim(
        "bits_frontier",
        "Iterations and bytes to the same error follow theory for every compressor that was tried, with and without "
        "error feedback. For m << d a biased code with error feedback takes fewer bytes than any unbiased code without "
        "memory can whose omega is at most 20.",
        (Topic.BITS_FRONTIER,),
        "At the d, m, K and exchanges of the experiment, within 7 %. No prediction holds for codes that send about 1 % "
        "of the coordinates: several steps were run, and the best of them is shown. The bound for unbiased codes holds "
        "where sums are not encoded again.",
    ),
    Claim(
        "error_feedback",
        "With error feedback one bit a coordinate keeps the speed of SGD: at SGD's own step, signs take at most 10 % "
        "more iterations than fp32.",
        (Topic.ERROR_FEEDBACK,),
        "For m << d. The bound was set before the first run.",
    ),
    Claim(
        "unscaled_feedback",
        "With error feedback QSGD diverges at each omega above 1 that was tried, and converges when it is divided by "
        "1 + omega.",
        (Topic.UNSCALED_FEEDBACK,),
        "With a master that gathers the gradients, at the step that is best for the scaled code.",
    ),
    Claim(
        "unadapted_step",
        "With SGD's own step QSGD diverges at every omega above 1 that was tried, and converges at every one below.",
        (Topic.UNADAPTED_STEP,),
        "Small batches, m << d, where theory has the border at omega = 1, s = .4 sqrt(d).",
    ),
    Claim(
        "dense_codes",
        "At s = 1 a code without entropy coding costs more bytes to the same error than no quantization at all.",
        (Topic.DENSE_CODES,),
        "QSGD with the l2 norm of the whole gradient.",
    ),
    Claim(
        "label_noise",
        "Label noise leaves a floor, which quantization raises, at the same step, by the factor that theory gives.",
        (Topic.LABEL_NOISE,),
        "Constant step. The factor is (1 + omega) (1 - step A) / (1 - step A_q): 1 + omega for a short step, and more "
        "at the step of the experiment.",
    ),
    Claim(
        "other_inputs",
        "Uncorrelated inputs that are not Gaussian change the rate by what their kurtosis predicts, a few percent; "
        "correlated ones converge more slowly.",
        (Topic.OTHER_INPUTS,),
        "Rademacher, uniform and t inputs with 5 degrees of freedom; autoregressive ones with coefficient 1/2.",
    ),
    Claim(
        "modelled_seconds",
        "Where the network dominates, every way to exchange and encode takes, within 15 %, the seconds of the "
        "alpha-beta model with costs measured in the same run, and those of `relufit plan` with costs of its own.",
        (Topic.MODELLED_SECONDS,),
        "Hosts emulated on one machine. They share its processors and wait for them, which neither knows of: the more "
        "hosts and the more traffic in all, the farther some ways are off.",
    ),
)


def check_topics(claims: tuple[Claim, ...]) -> None:
    """Check that each topic belongs to a statement: verdicts under another one would decide nothing.

    Raises
    ------
    ValueError
        With the topics that no statement has.
    """
    if unclaimed := set(Topic) - {topic for claim in claims for topic in claim.topics}:
        raise ValueError(f"no claim and no finding has the topics {', '.join(sorted(unclaimed))}")


check_topics((*CLAIMS, *FINDINGS))


def summarise(claims: tuple[Claim, ...], experiments: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each statement with its verdict and the experiments that bear on it.

    Parameters
    ----------
    claims : tuple of Claim
        `CLAIMS` or `FINDINGS`.
    experiments : dict
        For each experiment its judgement: ``verdicts``, a mapping from topics to lists of verdicts.
    """
    statements = []
    for claim in claims:
        bearing = {
            name: [verdict for topic in claim.topics for verdict in judged["verdicts"].get(topic, [])]
            for name, judged in experiments.items()
        }
        bearing = {
            name: verdicts
            for name, verdicts in bearing.items()
            if any(verdict["verdict"] != DESCRIBED for verdict in verdicts)
        }
        decided = [verdict for verdicts in bearing.values() for verdict in verdicts]
        # What was not measured says why, and what helps; each reason once.
        reasons = dict.fromkeys(v["note"] for v in decided if v["verdict"] == INCONCLUSIVE and not v["trials"])
        statements.append(
            {
                "claim": claim.name,
                "words": claim.words,
                "verdict": combine(verdict["verdict"] for verdict in decided),
                "condition": claim.condition,
                "experiments": {
                    name: combine(verdict["verdict"] for verdict in verdicts) for name, verdicts in bearing.items()
                },
                "note": " ".join(reasons) if bearing else "no experiment of this run bears on it",
            }
        )
    return statements
