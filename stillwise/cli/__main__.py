"""``python -m stillwise.cli``."""

import sys

from stillwise.cli import main

if __name__ == "__main__":
    sys.exit(main())
