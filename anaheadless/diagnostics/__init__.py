"""The doctor, and what it asks of the target's interpreter."""
