"""`python -m vos`, the same as the `vos` command."""

from vos.cli.main import main

if __name__ == "__main__":
    main()
