"""First line: nothing but to say which display there is."""

import os


def main() -> None:
    print(os.environ.get("DISPLAY", ""), os.getpid())
