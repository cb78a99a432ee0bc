"""A benchmark of anaheadless and similar tools: `make bench` writes its results to docs/explanation/speed.rst."""
