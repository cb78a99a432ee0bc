"""X servers and their clients: display numbers, cookies, connections, processes."""
