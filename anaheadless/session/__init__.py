"""Sessions: the keeper that owns an X server, those who start it, and those who talk to it."""
