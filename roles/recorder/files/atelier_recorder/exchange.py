"""One HTTP call of an LLM's API while it passes through the proxy."""

from __future__ import annotations

from dataclasses import dataclass

from .body_buffer import Tee
from .messages import Exchanged
from .providers import Provider

# An unfinished call is written again when it has grown by this part since, and not more often than this (ms).
_GROWTH = 1.5
_EVERY = 5_000


@dataclass
class Exchange:
    """The tees are filled while the bodies pass by; the rest is known by and by. Times are milliseconds since 1970."""

    number: int
    client: str
    address: str
    provider: Provider
    url: str
    method: str
    secrets: tuple[str, ...]
    started: int
    request: Tee
    response: Tee
    request_encoding: str = ""
    response_encoding: str = ""
    response_type: str = ""
    status: int = 0
    first_byte: int = 0
    written_size: int = 0
    written_at: int = 0

    def is_due(self, now: int) -> bool:
        """Whether the new data since the last write should be written now."""
        since = now - (self.written_at or self.started)
        return since >= _EVERY and self.response.size > self.written_size * _GROWTH

    def seen(self, now: int, *, final: bool, ended: bool = False, error: str | None = None) -> Exchanged:
        if not final:
            self.written_size, self.written_at = self.response.size, now
        return Exchanged(
            number=self.number,
            address=self.address,
            api=self.provider.api,
            any_host=self.provider.any_host,
            url=self.url,
            method=self.method,
            secrets=self.secrets,
            started=self.started,
            first_byte=self.first_byte,
            finished=now if final else 0,
            status=self.status,
            request=self.request.content(),
            request_encoding=self.request_encoding,
            response=self.response.content(),
            response_encoding=self.response_encoding,
            response_type=self.response_type,
            truncated=self.request.truncated or self.response.truncated,
            error=error,
            ended=ended,
            final=final,
        )

    def release(self) -> None:
        self.request.release()
        self.response.release()
