"""Bytes between ranks: frames, and links that carry them."""
