"""`pieces-nb` in a terminal, also as `python -m pieces_nb`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    try:
        from pieces_nb.views.terminal import program

        return program.main(sys.argv[1:])
    except KeyboardInterrupt:  # before the program was there to say more
        return 130


if __name__ == "__main__":
    sys.exit(main())
