"""How far from zero a run may start: gradient descent, SGD and QSGD from starts of growing norm, near n = 2d."""
