"""Where OpenGL comes from: candidates, their probes, the choice, and the cache of earlier results."""
