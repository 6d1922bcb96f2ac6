"""Errors of the Docker SDK, and of the libraries below it, as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import AtelierError, Code
from .plain import last_of

LONGEST_REASON = 1000


@contextmanager
def translated(
    url: str,
    attempt: str,
    code: Code = Code.ENGINE_ERROR,
    *,
    absent: type[Exception] | None = None,
    keep: type[Exception] | None = None,
) -> Iterator[None]:
    """Docker's errors as ours. ``url`` is where it is, ``attempt`` what the block does. ``absent`` is one that means
    "not there" and ends the block quietly; ``keep`` is passed on."""
    import requests
    import urllib3
    from docker.errors import APIError, DockerException

    try:
        yield
    except DockerException as error:
        if absent and isinstance(error, absent):
            return
        if keep and isinstance(error, keep):
            raise
        if not isinstance(error, APIError):
            raise _unreachable(url, error) from error
        # A path in it may be a seat's.
        reason = last_of(str(error.explanation or error), LONGEST_REASON)
        if "no space left on device" in reason or "disk quota exceeded" in reason:
            raise AtelierError(
                Code.DISK_FULL,
                f"Docker could not {attempt}: its disk is full.",
                remedy="Free space below Docker's data folder (docker system df shows what takes it), or in the"
                " workspace if its files take more than atelier_seat_disk.",
            ) from error
        raise AtelierError(
            code,
            f"Docker could not {attempt}: {reason.rstrip('.')}.",
            remedy="Mend that and run this again; ./atelier up makes networks and images that are missing.",
        ) from error
    except requests.exceptions.ReadTimeout as error:
        # Docker is there. A container that is being read or removed keeps it from answering about that one.
        raise AtelierError(
            code, f"Docker could not {attempt} in time.", remedy="Try again in a while.", limit="seconds"
        ) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> AtelierError:
    return AtelierError(
        Code.SERVICE_UNAVAILABLE,
        f"The Docker Engine at {url} does not answer ({type(error).__name__}).",
        field="site.engine_url",
        remedy="Start it (./atelier up does) or correct atelier_engine_url.",
    )
