"""The Python API: a display for the running process, displays for other programs, and ``anatomist.headless``."""
