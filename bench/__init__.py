"""How long a display takes, here and with others: `make bench` runs it on this machine, docs/speed.rst shows it."""
