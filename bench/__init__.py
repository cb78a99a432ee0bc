"""How long a display takes, here and with others; `make bench` measures it for docs/explanation/speed.rst."""
