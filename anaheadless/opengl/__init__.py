"""OpenGL: candidates, their probes, the choice, and the cache of earlier results."""
