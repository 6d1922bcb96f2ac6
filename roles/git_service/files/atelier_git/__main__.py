"""usage: python -m atelier_git SETTINGS            serves on the socket that the settings name
python -m atelier_git SETTINGS credentials  gives owner and service account new passwords, the latter a new token,
                                            and prints them as JSON"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import uvicorn

from .credentials import renew
from .endpoints.app import create_app
from .settings import load
from .store import Store


def main() -> int:
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["credentials"]):
        print(__doc__, file=sys.stderr)
        return 2
    settings = load(Path(sys.argv[1]))
    if sys.argv[2:]:
        store = Store(settings.database)
        print(json.dumps(renew(store, settings.owner, settings.service_user)))
        store.close()
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(
        create_app(settings),
        uds=settings.socket,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http="httptools",
        loop="uvloop",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
