"""`python -m vos` and the `vos` command."""

import sys


def main() -> None:
    """Start the command line; Ctrl-C while it is being imported ends it without a traceback."""
    try:
        from vos.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
