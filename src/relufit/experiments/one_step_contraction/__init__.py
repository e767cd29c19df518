"""Single steps near w*: the factor on the squared error, of SGD and of QSGD."""
