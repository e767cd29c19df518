"""A Dask scheduler that runs already, by its address or its scheduler file. Closing leaves it as it was."""
