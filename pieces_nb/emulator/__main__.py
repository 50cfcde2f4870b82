"""`python -m pieces_nb.emulator`: the command without the rest of the package."""

from __future__ import annotations

import sys

from pieces_nb.emulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
