"""Says whether an API would start with a settings file: ``python -m api.check_settings FILE``. roles/api asks before it
replaces the settings of one that runs."""

from __future__ import annotations

import sys
from pathlib import Path

from atelier.common.errors import AtelierError

from .settings import load_settings

if __name__ == "__main__":
    try:
        load_settings(Path(sys.argv[1]))
    except (AtelierError, ValueError) as error:
        sys.exit(str(error))
