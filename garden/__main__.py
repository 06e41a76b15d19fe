"""`python -m garden`: the same as the console script `garden`."""

import sys

from garden.cli import main

sys.exit(main())
