"""Compiled loops, the vector instructions they are made of, and linear algebra with reproducible bits."""
