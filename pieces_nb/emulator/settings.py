"""What a test or a user can turn about the emulator: what is unknown of the real server, and what goes wrong.

Plain frozen values. Nothing here acts; each field's help text is also the command line's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DEFAULT_RATE_BYTES_PER_S = 8_000_000.0


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Behaviours in which a correct server may differ. The defaults are the plausible ones."""

    repeat_old_status: bool = _option(True, "a new WebSocket hears the current or last status at once, an old end too")
    close_after_terminal: bool = _option(False, "the server closes the WebSocket after COMPLETED, FAILED or CANCELED")
    idle: Literal["nothing", "empty", "unknown"] = _option(
        "nothing", "what a WebSocket hears of a model without history: nothing, {} or UNKNOWN"
    )
    post_late_s: float = _option(0.0, "the answer to a download call comes late; the transfer starts at once")
    post_answers_at_start: bool = _option(False, "the answer to a download call comes when the transfer starts")
    post_answers_after_end: bool = _option(False, "the answer to a download call comes when the transfer has ended")
    start_late_s: float = _option(0.0, "the transfer starts late; until then nothing but the old status is seen")
    downloading_lag_s: float = _option(0.0, "a snapshot's `downloading` turns this much later than the truth")
    downloading_missing: bool = _option(False, "snapshots have no `downloading`")
    downloaded_lag_s: float = _option(0.0, "a snapshot's `downloaded` turns true this long after the download's end")
    downloaded_missing: bool = _option(False, "snapshots have no `downloaded`")
    load_works_on_s: float = _option(0.0, "a load call answers at once, and the loading goes on for so long")
    unload_works_on_s: float = _option(0.0, "an unload call answers at once, and the unloading goes on for so long")
    delete_cache_works_on_s: float = _option(
        0.0, "a call that deletes a model's files answers at once, and the deleting goes on for so long"
    )
    second_post: Literal["join", "fail", "block"] = _option(
        "join", "a second download call meanwhile: answers, answers 500, or answers when the first has ended"
    )
    after_cancel: Literal["canceled", "nothing", "reset"] = _option(
        "canceled", "what a WebSocket hears of a cancel: CANCELED, nothing at all, or RESET"
    )
    reset_before_restart: bool = _option(False, "a download after an earlier one's end says RESET before INITIALIZED")
    resumes: bool = _option(False, "a download after a failed or canceled one goes on where that one stopped")
    percentages: Literal["float", "int", "none"] = _option("float", "how percentages are sent; none leaves them out")
    frames_while_stalled: bool = _option(False, "a stalled transfer repeats its frame ten times a second")
    failed_frame_says_why: bool = _option(False, "a FAILED frame carries the reason in an extra field, `message`")
    engine: Literal["ready", "missing", "outdated", "user-managed", "none"] = _option(
        "ready",
        "the engine under the local models, until this home installs one: ready, missing, outdated, or outdated and "
        "managed by the user; none is a server without calls for it",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong. Percentages are 0 to 100; None means never.

    What is said of downloads is true of the engine's install and update too, whose key in a mapping is ENGINE.
    """

    rate_bytes_per_s: float | None = _option(None, "another rate for these models")
    stall_at: float | None = _option(None, "bytes stop at this percentage, the status stays; cleared, they flow again")
    fail_at: float | None = _option(None, "the download fails at this percentage")
    fail_text: str = _option("The connection to the model's host was lost.", "the reason of that failure")
    drop_at: float | None = _option(None, "the WebSocket breaks without a close frame; the transfer goes on")
    disk_full_at: float | None = _option(None, "the disk is full at this percentage; at 0 the download call says so")
    download_error: str | None = _option(None, "download calls are answered 500 with this text")
    install_error: str | None = _option(None, "install and update calls of the engine are answered 500 with this text")
    load_seconds: float = _option(0.0, "loading takes this much longer")
    load_error: str | None = _option(None, "load calls are answered 500 with this text")
    unload_error: str | None = _option(None, "unload calls are answered 500 with this text")
    cancel_ignored: bool = _option(False, "cancel calls are answered as if they worked; the download goes on")
    socket_refused: Literal["404", "close"] | None = _option(
        None, "the progress WebSocket answers 404, or closes before the handshake ends"
    )


NO_FAULTS = Faults()
ENGINE = "engine"  # its key in a mapping of faults


@dataclass(slots=True)
class Settings:
    """What is in force now. Assigned from any thread, one whole attribute at a time; read by the emulator's loop."""

    rate_bytes_per_s: float | None = DEFAULT_RATE_BYTES_PER_S
    switches: Switches = field(default_factory=Switches)
    faults: Faults | Mapping[str, Faults] = NO_FAULTS

    def faults_for(self, model_id: str, unique: object) -> Faults:
        """Return the faults of one model: those for its id, for its `unique`, for "*", or none."""
        faults = self.faults
        if isinstance(faults, Faults):
            return faults
        for key in (model_id, unique, "*"):
            if isinstance(key, str) and key in faults:
                return faults[key]
        return NO_FAULTS

    def rate_for(self, faults: Faults) -> float | None:
        """Return bytes a second for each download; None is as fast as it goes."""
        return self.rate_bytes_per_s if faults.rate_bytes_per_s is None else faults.rate_bytes_per_s
