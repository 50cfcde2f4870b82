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
    finally:
        # A Ctrl-C in the middle of a text that Python runs, as for each dataclass, ends `python -m` by the signal,
        # though it was caught. The next text that runs takes that back.
        exec("")  # noqa: S102 - nothing


if __name__ == "__main__":
    sys.exit(main())
