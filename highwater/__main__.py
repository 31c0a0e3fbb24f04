"""Entry point of the command `highwater`."""

from __future__ import annotations

import os
import sys

from highwater.cli import main as run


def main() -> int:
    """Run the command line of this process; its exit code."""
    return run(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
