"""Runs mitmproxy with the recorder in it.

python -m atelier_recorder SETTINGS
"""

from __future__ import annotations

import asyncio
import logging
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from mitmproxy import options
from mitmproxy.tools import dump

from .proxy import bounds
from .proxy.addon import Recorder
from .settings import Settings, read_settings


def main() -> None:
    settings_file = Path(sys.argv[1])
    settings = read_settings(settings_file)
    bounds.install()
    # Each stream takes two connections.
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    # In memory: mitmproxy writes its own files beside the authority's key, which is mounted read-only.
    with tempfile.TemporaryDirectory(prefix="mitmproxy.") as folder:
        shutil.copyfile(settings.ca_file, Path(folder, "mitmproxy-ca.pem"))
        asyncio.run(_serve(settings, settings_file, folder))


async def _serve(settings: Settings, settings_file: Path, folder: str) -> None:
    master = dump.DumpMaster(
        options.Options(
            confdir=folder,
            listen_host=settings.listen_host,
            listen_port=settings.listen_port,
            ssl_verify_upstream_trusted_ca=str(settings.upstream_ca),
        ),
        loop=asyncio.get_running_loop(),
        with_termlog=False,
        with_dumper=False,  # it would write addresses with their queries to the log
    )
    # mitm.it would be answered by mitmproxy itself.
    master.options.update(onboarding=False)
    master.addons.add(Recorder(settings, settings_file))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, master.shutdown)
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(levelname)s: %(message)s")
    # Lower levels log every connection.
    logging.disable(logging.INFO)
    await master.run()


if __name__ == "__main__":
    main()
