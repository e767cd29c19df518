"""Sample complexity: from how many samples a dimension on each method finds w*."""
