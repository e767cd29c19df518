"""The initial weights: how far (2/n) sum y x is from w*."""
