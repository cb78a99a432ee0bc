"""The kinds of X servers, one module each: how one is found, called and started."""
