"""What a rank or a master takes of a Dask worker while it runs: the resource that workers offer and tasks ask for."""

SLOT = "slot"
