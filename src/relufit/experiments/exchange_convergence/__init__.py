"""QSGD in exchanges that encode sums again: iterations and bytes, against SGD in fp32 by all_reduce."""
