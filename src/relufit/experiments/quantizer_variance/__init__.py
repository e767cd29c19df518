"""Quantizers by themselves: the variance that they add, whether they are unbiased, and the published bounds."""
