"""Run graphical Python programs on machines without screens."""

__version__ = "0.1.0"
