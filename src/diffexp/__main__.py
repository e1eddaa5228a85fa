"""python -m diffexp [group=option] [key=value] ...     the same as `diffexp`, and as run.py in a clone."""

import sys
from pathlib import Path

if not __package__:  # run by its path, as ranks are started: this folder's files are no modules of their own
    sys.path[0] = str(Path(__file__).parents[1])

from diffexp.cli import main

if __name__ == "__main__":
    sys.exit(main())
