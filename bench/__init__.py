"""Figures for docs/bench.md: each beside the baseline, taken in the same run. ``python -m bench --help``."""

import sys
from pathlib import Path

# The core is imported as ``atelier``, as the API and the tests do.
sys.path.insert(0, str(Path(__file__).parent.parent / "module_utils"))
