"""A map on a Dask cluster."""
