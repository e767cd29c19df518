"""QSGD against SGD: is the convergence kept, and what does it cost in iterations."""
