"""Bytes against iterations of all compressors, with and without error feedback."""
