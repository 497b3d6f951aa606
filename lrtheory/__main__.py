"""`python -m lrtheory`: the command line.

Lives here: the call. Lives elsewhere: the commands (cli).
"""

import sys

from lrtheory.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
