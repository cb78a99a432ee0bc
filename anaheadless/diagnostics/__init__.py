"""The doctor, and its report on the target's interpreter."""
