"""`pieces-nb` in a terminal: the magic's grammar, and emulator and demo."""

from __future__ import annotations

import sys


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["emulator"]:
        import argparse

        from pieces_nb.emulator import cli

        parser = argparse.ArgumentParser(prog="pieces-nb emulator")
        cli.add_arguments(parser)
        return cli.run(parser.parse_args(arguments[1:]))
    if arguments[:1] == ["demo"]:
        from pieces_nb import demo

        return demo.main(arguments[1:])
    return 2


if __name__ == "__main__":
    sys.exit(main())
