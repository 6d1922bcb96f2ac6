"""One HTTP call of an LLM's API while it passes through the proxy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..body_buffer import Tee
from ..messages import Exchanged

# An unfinished call is written again when it has grown by this part since, and not more often than this (ms).
_GROWTH = 1.5
_EVERY = 5_000


@dataclass
class Exchange:
    """``call`` is what is known so far, without the bodies: the tees are filled while these pass by."""

    client: str
    call: Exchanged
    request: Tee
    response: Tee
    written_size: int = 0
    written_at: int = 0

    def is_due(self, now: int) -> bool:
        """Whether the new data since the last write should be written ``now`` (milliseconds)."""
        since = now - (self.written_at or self.call.started)
        return since >= _EVERY and self.response.size > self.written_size * _GROWTH

    def seen(self, now: int, *, final: bool, ended: bool = False, error: str | None = None) -> Exchanged:
        if not final:
            self.written_size, self.written_at = self.response.size, now
        return replace(
            self.call,
            finished=now if final else 0,
            request=self.request.content(),
            response=self.response.content(),
            truncated=self.request.truncated or self.response.truncated,
            error=error,
            ended=ended,
            final=final,
        )

    def release(self) -> None:
        self.request.release()
        self.response.release()
