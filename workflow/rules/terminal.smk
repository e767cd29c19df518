# What a run shows of itself: first of all, so that nothing is said before. As a module, the workflow that uses it
# shows its run in its own way.
from relufit.terminal import attach, name_user

STANDALONE = workflow.modifier.namespace is None
name_user()
TERMINAL = attach(workflow) if STANDALONE else None
