"""A benchmark of anaheadless and similar tools; `make bench` runs it for docs/explanation/speed.rst."""
