"""The runtime socket of the gateway. Source: HAProxy Management Guide, "Unix Socket commands"."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message

_TIMEOUT_SECONDS = 10


def ask(state_dir: Path, command: str) -> str | None:
    """The running gateway's answer to a command; None if it does not run. Raises GATEWAY_ERROR if it hangs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        # A path in /proc is always short; a socket's path may have at most 108 characters.
        try:
            folder = os.open(state_dir / "gateway", os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            connection.connect(f"/proc/self/fd/{folder}/admin.sock")
            connection.sendall(command.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            if not answer:  # each answer ends with an empty line
                raise ConnectionResetError
            return answer
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise AtelierError(Code.GATEWAY_ERROR, Message("gateway.silent", kind=type(error).__name__)) from error
        finally:
            os.close(folder)
