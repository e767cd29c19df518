"""Larger batches: how the rate of SGD grows with the mini-batch, and where it stops to."""
