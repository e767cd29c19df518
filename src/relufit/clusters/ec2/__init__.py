"""A Dask cluster on EC2: checked before anything starts, with TLS, ended and looked for afterwards."""
