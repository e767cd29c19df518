"""Other starts than the moment estimate: does gradient descent reach w* from them too."""
