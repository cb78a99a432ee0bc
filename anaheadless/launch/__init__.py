"""One run: what to execute, with which OpenGL, in which environment."""
