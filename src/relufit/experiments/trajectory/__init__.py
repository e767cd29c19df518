"""From far away: the whole way of SGD and QSGD from w0, against the mean-field recursion."""
