# What a run shows of itself: first of all, so that nothing is said before.
from relufit.terminal import attach, name_user

name_user()
TERMINAL = attach(workflow)
