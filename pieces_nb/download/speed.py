"""How fast a download is, by the samples of its percentage. Pure."""

from __future__ import annotations

from pieces_nb.download.values import HISTORY_WINDOWS, DownloadState, Sample


def sampled(state: DownloadState, percentage: float, now: float) -> tuple[Sample, ...]:
    """Keep some twenty samples a speed window, of the last six windows, and the newest always."""
    window, samples = state.timing.speed_window_s, state.current.samples
    if samples and now - samples[0].at > HISTORY_WINDOWS * window:
        samples = tuple(sample for sample in samples if now - sample.at <= HISTORY_WINDOWS * window)
    if len(samples) >= 2 and samples[-1].at - samples[-2].at < window / 20:
        samples = samples[:-1]
    return (*samples, Sample(now, percentage))


def rate_per_s(state: DownloadState, *, now: float) -> float | None:
    """Return percentage points a second over the last seconds; None while stalled, unanswered, ended or not known."""
    samples = state.samples
    if state.stalled or state.done or state.silent_since is not None or len(samples) < 2:
        return None
    first = last = samples[-1]
    for sample in reversed(samples):  # from the newest on: far more are kept than the speed is of
        if last.at - sample.at > state.timing.speed_window_s:
            break
        first = sample
    # Counting up to now, not up to the last sample, lets the speed fall while nothing comes.
    duration = max(now, last.at) - first.at
    return (last.percentage - first.percentage) / duration if duration > 0 else None


def speed_bytes_per_s(state: DownloadState, *, now: float) -> float | None:
    """Return bytes a second; None where the rate or the size is unknown."""
    rate = rate_per_s(state, now=now)
    return None if rate is None or state.size_bytes is None else state.size_bytes * rate / 100


def time_left_s(state: DownloadState, *, now: float) -> float | None:
    """Return seconds to go at the present rate; None where that is unknown."""
    rate = rate_per_s(state, now=now)
    if not rate or state.percentage is None:
        return None
    return (100 - state.percentage) / rate


def speed_history(state: DownloadState, *, points: int, now: float) -> tuple[tuple[float, float], ...]:
    """Return (seconds ago, bytes a second) over the last minute, the oldest first, at most `points`; () if unknown."""
    samples, size = state.samples, state.size_bytes
    if size is None or len(samples) < 2 or points < 1:
        return ()
    until = state.ended_at if state.ended_at is not None else max(now, samples[-1].at)
    step = HISTORY_WINDOWS * state.timing.speed_window_s / points
    count = min(points, int((until - samples[0].at) / step) + 1)
    edges = [until - step * index for index in range(count, -1, -1)]
    marks = [_percentage_at(samples, edge) for edge in edges]
    return tuple(
        (now - end, size * (after - before) / 100 / step)
        for end, before, after in zip(edges[1:], marks, marks[1:], strict=False)
    )


def _percentage_at(samples: tuple[Sample, ...], at: float) -> float:
    """Return the percentage at a moment, between two samples on the line between them."""
    before = samples[0]
    for sample in samples:
        if sample.at >= at:
            span = sample.at - before.at
            share = (at - before.at) / span if span > 0 else 1.0
            return before.percentage + (sample.percentage - before.percentage) * min(max(share, 0.0), 1.0)
        before = sample
    return before.percentage
