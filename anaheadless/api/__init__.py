"""What Python code calls: set-up in a running process, displays for child programs, and the seed's names."""
