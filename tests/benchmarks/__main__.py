"""`python -m tests.benchmarks [NAME …]`: what is measured, against what, as a table in Markdown."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from tests.benchmarks.measure import Line, machine, table
from tests.benchmarks.topics import TOPICS, Topic


def main(arguments: Sequence[str] | None = None, *, topics: Mapping[str, Topic] = TOPICS) -> int:
    """Measure and print; 0 whatever the figures are, with `--check` 1 for a goal that is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(topics)}; default: all")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    said = parser.parse_args(arguments)
    if unknown := [name for name in said.names if name not in topics]:
        parser.error(f"no such figures: {', '.join(unknown)}; there are {', '.join(topics)}")
    described, begun = machine(), time.monotonic()
    lines: list[Line] = []
    for name in said.names or topics:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        lines += topics[name]()
    print(table(lines))
    print(f"\n{described}; {time.monotonic() - begun:.0f} s in all.")
    return int(said.check and any(line.missed for line in lines))


if __name__ == "__main__":
    sys.exit(main())
