"""Bytes to an accuracy: codings, compressors, exchanges, larger batches, and the rows themselves."""
