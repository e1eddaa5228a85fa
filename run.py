"""python run.py [group=option] [key=value] ...     python run.py --help lists the groups."""

import sys
from pathlib import Path

from diffexp.cli import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent / "conf"))
