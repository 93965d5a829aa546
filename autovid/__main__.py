"""`python -m autovid`."""

import sys

from autovid.cli import main

sys.exit(main())
