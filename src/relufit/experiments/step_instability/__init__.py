"""Steps that do not follow omega: where QSGD diverges at the step of SGD, and where any step is too long."""
