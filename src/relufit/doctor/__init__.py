"""What this machine can do of what a configuration asks for, what follows where it cannot, and the command that helps.

`examine` is what ``relufit doctor`` prints; `refusals` the part of it that the workflow says before and after a run;
`capability` what a rule depends on. All three have the same words.
"""

from relufit.doctor.examination import examine
from relufit.doctor.line import Line, Sign
from relufit.doctor.network import capability, refusals

__all__ = ["Line", "Sign", "capability", "examine", "refusals"]
