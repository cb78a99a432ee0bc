"""X servers and connections to them: display numbers, cookies, screenshots, processes."""
