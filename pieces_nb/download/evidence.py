"""What was heard about one attempt: from where, of when, and what of it still counts. Pure.

Every time here is when something was asked for or sent, never when it was processed, and on the clock that stands still
while this process is stopped: an answer proves nothing about a moment after its question.
"""

from __future__ import annotations

from typing import NamedTuple

from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress


class Evidence(NamedTuple):
    """One thing heard. What is None is not told, which is not the same as false."""

    at: float
    downloading: bool | None = None
    downloaded: bool | None = None
    status: DownloadStatus | None = None
    opening: bool = False  # one of the first frames of a connection: it may repeat how an earlier download stood
    first: bool = False  # and of the first connection: it hardly repeats how this one ended
    words: str = ""


def of_snapshot(model: Model, *, asked_at: float) -> Evidence:
    """Return what a snapshot tells."""
    return Evidence(asked_at, model.flag("downloading"), model.flag("downloaded"))


def of_frame(progress: ModelDownloadProgress, *, at: float, opening: bool = False, first: bool = False) -> Evidence:
    """Return what a frame tells."""
    return Evidence(at, status=progress.status, opening=opening, first=first)


def of_refusal(words: str, *, at: float) -> Evidence:
    """Return what an error in answer to the POST tells."""
    return Evidence(at, words=words)


class Record(NamedTuple):
    """What of the evidence about one attempt still counts."""

    positive: Evidence | None = None  # the newest that says it runs
    flagged: bool = False  # a snapshot has said `downloading: true`
    seen: Evidence | None = None  # the newest snapshot
    idle_from: Evidence | None = None  # the first explicit `downloading: false` after all that is positive
    idle: Evidence | None = None  # the newest such
    verdict: Evidence | None = None  # the terminal frame that no later frame has contradicted
    denied_at: float | None = None  # of the newest `downloading: true` asked for after the verdict

    @property
    def positive_at(self) -> float:
        return self.positive.at if self.positive is not None else float("-inf")

    @property
    def is_told(self) -> bool:
        """Whether snapshots tell if it runs."""
        return self.seen is not None and self.seen.downloading is not None

    def with_snapshot(self, evidence: Evidence) -> Record:
        """Return the record with a snapshot that was asked for after all others."""
        record = self._replace(seen=evidence)
        if evidence.downloading:
            denied = record.verdict is not None and evidence.at >= record.verdict.at
            positive = evidence if evidence.at >= record.positive_at else record.positive
            return record._replace(
                positive=positive,
                flagged=True,
                idle_from=None,
                idle=None,
                denied_at=evidence.at if denied else record.denied_at,
            )
        if evidence.downloading is None or evidence.at < record.positive_at:
            return record
        return record._replace(idle=evidence, idle_from=record.idle_from or evidence)

    def with_life(self, evidence: Evidence) -> Record:
        """Return the record with a frame that says it runs, and is no repetition."""
        return self._replace(positive=evidence, idle_from=None, idle=None, verdict=None, denied_at=None)

    def with_opening(self) -> Record:
        """Return the record after a first frame that says it runs: it may be old, but so then is an end before it."""
        return self._replace(verdict=None, denied_at=None) if self.verdict and self.verdict.opening else self

    def with_end(self, evidence: Evidence) -> Record:
        """Return the record with a terminal frame: the first that says so, but one amid others before a first one.

        One of the first connection that snapshots denied counts from when a later connection says it, too; denied it
        still is.
        """
        standing = self.verdict
        anew = self._replace(verdict=evidence, denied_at=None)
        if standing is None:
            return anew
        says_the_same = standing.status is evidence.status
        if not standing.opening:
            return self if evidence.opening or says_the_same else anew
        if not evidence.opening or not says_the_same:
            return anew
        is_repeated = standing.first and not evidence.first and self.denied_at is not None
        return self._replace(verdict=evidence) if is_repeated else self
