"""Log stores in order: the first that has an attempt's log shows it. Files now; object storage, Elasticsearch and the
live pod are more readers in the chain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from execplane.contract.errors import Unavailable
from execplane.contract.keys import AttemptKey
from execplane.contract.logs import LogPage, LogRecord
from execplane.logs.pages import NO_FILTER, UNKNOWN, Filter, Produced, tail_gaps

log = logging.getLogger(__name__)


class LogReader(Protocol):
    name: str

    def has(self, key: AttemptKey) -> bool:
        """Whether anything of the attempt's log is here."""

    def read(
        self,
        key: AttemptKey,
        *,
        offset: int = 0,
        limit: int = 1000,
        produced: Produced = UNKNOWN,
        show: Filter = NO_FILTER,
    ) -> LogPage:
        """Up to `limit` lines from `offset` on (negative: that many from the end), in order, with what is missing
        between them. An absent log is an empty page. Raises Unavailable."""


class LogStore(LogReader, Protocol):
    def append(self, key: AttemptKey, records: Sequence[LogRecord]) -> int:
        """Keep these lines; offsets that are there already are left alone. Gives how many were new. Raises
        Unavailable when they could not be kept (all or none of them are)."""

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Forget the logs of a run; absent is fine."""


class LogChain:
    """Several readers as one."""

    name = "chain"

    def __init__(self, readers: Sequence[LogReader]) -> None:
        self._readers = tuple(readers)

    def has(self, key: AttemptKey) -> bool:
        return any(reader.has(key) for reader in self._readers)

    def read(
        self,
        key: AttemptKey,
        *,
        offset: int = 0,
        limit: int = 1000,
        produced: Produced = UNKNOWN,
        show: Filter = NO_FILTER,
    ) -> LogPage:
        """As `LogReader.read`; raises Unavailable only if no reader has the log and one of them did not answer."""
        failed: Unavailable | None = None
        for reader in self._readers:
            try:
                if reader.has(key):
                    return reader.read(key, offset=offset, limit=limit, produced=produced, show=show)
            except Unavailable as error:
                log.warning("log store %s: %s", reader.name, error)
                failed = failed or error
        if failed is not None:
            raise failed
        gaps, end = tail_gaps(max(0, offset), produced)
        return LogPage(gaps=gaps, next_offset=end, complete=produced.ended)
