"""Local steps: exchanges and bytes where each rank takes several steps in between, against a larger mini-batch."""
