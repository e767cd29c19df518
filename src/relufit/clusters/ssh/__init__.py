"""A Dask cluster that is started on hosts over SSH, and ends with the run."""
