"""``python -m relufit.cli`` is the command ``relufit``."""

import sys

from relufit.cli import main

sys.exit(main())
