"""SGD from the moment estimate: does it converge geometrically, at the rate that theory gives."""
