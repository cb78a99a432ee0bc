"""A benchmark of anaheadless and similar tools: `make bench` runs it on this machine, docs/speed.rst shows results."""
