"""Work for the time to the first line: print the display."""

import os


def main() -> None:
    print(os.environ.get("DISPLAY", ""), os.getpid())
