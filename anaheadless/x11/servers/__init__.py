"""The kinds of X servers, one module each: how to find one, and how to call it."""
