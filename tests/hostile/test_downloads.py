"""Downloads from a server that does everything wrong, each with its one true outcome."""

from __future__ import annotations

import dataclasses
import math
import re
import struct
import threading
import time
from typing import Any

import pytest

from pieces_nb import ModelClient
from pieces_nb.download.throttle import INTERVAL_S, MOST_PER_S
from pieces_nb.errors import (
    CancelNotConfirmed,
    DownloadCanceled,
    ModelStateError,
    PiecesError,
    PiecesServerError,
    WaitTimeout,
)
from tests import waiting
from tests.hostile.conftest import MakeServer
from tests.hostile.following import PATIENT, Watched, client_of, follow, hurried
from tests.hostile.server import (
    BINARY,
    COMPLETES,
    CONTINUATION,
    DEADLINE_S,
    ID,
    OTHER_ID,
    PING,
    PONG,
    STARTS,
    TEXT,
    Behaviour,
    HostileServer,
    Line,
    Request,
    Step,
    answers_after,
    becomes,
    close,
    crash,
    cut,
    dripped,
    drips,
    for_ever,
    frame,
    half_open,
    handshake,
    hang_up,
    http,
    in_turn,
    late,
    model_of,
    nothing_there,
    pause,
    progress,
    repeated,
    reset,
    says,
    says_and_hangs_up,
    seen_again,
    silence,
    text,
    until,
    websocket,
    when,
)

Clients = list[ModelClient]
COMPLETED = ("COMPLETED", "")
SOON = dataclasses.replace(PATIENT, start_grace_s=0.5)
IMPATIENT = dataclasses.replace(PATIENT, start_grace_s=0.3, lost_after_s=0.3, cancel_within_s=0.3)


def ends(server: HostileServer, clients: Clients, **options: Any) -> tuple[str, str]:
    return follow(client_of(server, clients, **options)).end()


def completes_soon(line: Line) -> None:
    """Step: the download ends well without a word, once a snapshot or two have been read."""
    seen_again(times=2)(line)
    becomes(downloading=False, downloaded=True)(line)


def test_a_download_that_goes_well_is_completed(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, *COMPLETES)
    watched = follow(client_of(server, clients))
    assert watched.end() == COMPLETED
    assert watched.shown[-1].percentage == 100
    assert server.count("start") == 1


# The socket does not open ---------------------------------------------------------------------------------------------

ELSEWHERE = "Location: http://127.0.0.1:9/model/x/download/progress"
NO_SOCKETS: dict[str, Behaviour] = {
    "404": nothing_there,
    "500": says(text("out of sockets", "500 Internal Server Error")),
    "426": says(http(b"", "426 Upgrade Required", "Upgrade: h2c")),
    "302 to another host": says(http(b"", "302 Found", ELSEWHERE)),
    "308 without a word where": says(http(b"", "308 Permanent Redirect")),
    "200": says(text("hello")),
    "101 of another protocol": says(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    "101 with a wrong key": says(
        b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"
    ),
    "closes before the handshake": hang_up,
    "resets before the handshake": reset,
    "half a handshake": says_and_hangs_up(b"HTTP/1.1 101 Switching Protocols\r\nUpgr"),
    "a handshake that is no HTTP": says_and_hangs_up(b"\x00\xff\xfe binary \r\n\r\n"),
    "a status line without a status": says_and_hangs_up(b"HTTP/1.1\r\n\r\n"),
    "a header without a colon": says_and_hangs_up(b"HTTP/1.1 101 Ok\r\nnonsense\r\n\r\n"),
    "headers in broken UTF-8": says_and_hangs_up(b"HTTP/1.1 101 Ok\r\nX: \xff\xfe\r\n\r\n"),
    "a cookie of its own kind": says_and_hangs_up(
        b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSet-Cookie: a@b{}=c; domain=x\r\n\r\n"
    ),
    "an error page whose length lies": says_and_hangs_up(http(b"x", "500 Oops", length=10**12)),
    "a length that is no number": says_and_hangs_up(b"HTTP/1.1 500 Oops\r\nContent-Length: many\r\n\r\n"),
    "endless headers": for_ever(b"X-Filler: " + b"x" * 1000 + b"\r\n", b"HTTP/1.1 101 Ok\r\n"),
    "one endless line": for_ever(b"x" * 4096),
    "an endless error page": for_ever(b"x" * 4096, b"HTTP/1.1 500 Oops\r\nContent-Length: 99999999999\r\n\r\n"),
}


@pytest.mark.parametrize("kind", NO_SOCKETS)
def test_without_a_socket_the_snapshots_tell(kind: str, server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = NO_SOCKETS[kind]
    watched = follow(client_of(server, clients))
    server.wait_for("progress", 2)
    watched.wait_until(lambda download: bool(download.state.socket_words))
    assert watched.download.status == "IN-PROGRESS"
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED
    assert not any(request.target.startswith("http") for request in server.log)


SLOW_SOCKETS: dict[str, Behaviour] = {
    "silence": silence,
    "half a handshake, then silence": lambda line, request: drips(handshake(request)[:31], DEADLINE_S, 30)(
        line, request
    ),
    "a handshake of one byte at a time": lambda line, request: drips(handshake(request), 0.05)(line, request),
}


@pytest.mark.parametrize("kind", SLOW_SOCKETS)
def test_a_handshake_that_takes_too_long_is_given_up(kind: str, server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = SLOW_SOCKETS[kind]
    watched = follow(hurried(client_of(server, clients), 0.3))
    server.wait_for("progress", 2)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


def test_the_socket_opens_at_last(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = in_turn(hang_up, nothing_there, reset, websocket(*STARTS, *COMPLETES))
    watched = follow(client_of(server, clients))
    assert watched.end() == COMPLETED
    assert watched.download.state.reconnects == 0


def test_a_download_that_ends_while_the_socket_shakes_hands_leaves_no_socket(
    server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = silence
    watched = follow(client_of(server, clients))
    server.wait_for("progress")
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


# The socket closes ----------------------------------------------------------------------------------------------------

CLOSINGS: dict[str, Step] = {"close": close, "cut": cut, "crash": crash}
BEFORE: dict[str, tuple[Step, ...]] = {
    "the first frame": (),
    "INITIALIZED ends": (progress("INITIALIZED", 0),),
    "IN-PROGRESS ends": STARTS,
    "its last frame is whole": (*STARTS, progress("IN-PROGRESS", 50)[:-4]),
    "a whole head": (*STARTS, b"\x81"),
}


@pytest.mark.parametrize("how", CLOSINGS)
@pytest.mark.parametrize("where", BEFORE)
def test_a_socket_that_ends_before_the_end_is_opened_again(
    where: str, how: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = in_turn(
        websocket(*BEFORE[where], CLOSINGS[how]), websocket(progress("IN-PROGRESS", 60), *COMPLETES)
    )
    watched = follow(client_of(server, clients))
    assert watched.end() == COMPLETED
    assert server.count("start") == 1


@pytest.mark.parametrize("how", CLOSINGS)
@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("COMPLETED", {"downloading": False, "downloaded": True}),
        ("FAILED", {"downloading": False}),
        ("CANCELED", {"downloading": False}),
    ],
)
def test_a_socket_that_ends_right_after_the_end_changes_nothing(
    how: str, word: str, fields: dict[str, bool], server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS, becomes(**fields), progress(word, 100), CLOSINGS[how])
    status, error = ends(server, clients)
    assert status == word
    assert word != "FAILED" or "the server said FAILED" in error


@pytest.mark.parametrize("how", CLOSINGS)
def test_an_end_without_a_frame_is_completed_when_the_model_is_there(
    how: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS, COMPLETES[0], CLOSINGS[how])
    assert ends(server, clients) == COMPLETED


@pytest.mark.parametrize("how", CLOSINGS)
def test_an_end_without_a_word_is_failed_when_the_model_is_not_there(
    how: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS, seen_again(times=2), becomes(downloading=False), CLOSINGS[how])
    status, error = ends(server, clients, timing=SOON)
    assert status == "FAILED"
    assert "ended without saying why" in error


def test_a_socket_that_closes_again_and_again_is_opened_less_and_less_often(
    server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(close)
    timing = dataclasses.replace(PATIENT, backoff_first_s=0.05, backoff_most_s=20)
    watched = follow(client_of(server, clients, timing=timing))
    server.wait_for("snapshot", 20)
    assert server.count("progress") <= 7
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


@pytest.mark.parametrize("scheme", ["ws", "http"])
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_of_the_socket_is_not_followed(
    status: str, scheme: str, make_server: MakeServer, clients: Clients
) -> None:
    server, elsewhere = make_server(), make_server()
    location = f"Location: {scheme}://127.0.0.1:{elsewhere.port}/model/{ID}/download/progress"
    server.answers["progress"] = in_turn(
        says(http(b"", status, location)), websocket(*STARTS, seen_again(times=2), *COMPLETES)
    )
    assert ends(server, clients) == COMPLETED
    assert server.count("progress") == 2
    assert elsewhere.lines == 0


# The socket is silent -------------------------------------------------------------------------------------------------


def test_a_half_open_socket_is_noticed_by_asking(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, half_open)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


def test_a_socket_that_stays_silent_is_opened_anew(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = in_turn(
        websocket(*STARTS, half_open), websocket(progress("IN-PROGRESS", 70), seen_again(times=2), *COMPLETES)
    )
    timing = dataclasses.replace(PATIENT, silent_after_s=0.3)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.percentage == 70)
    assert watched.download.state.reconnects == 1
    assert watched.end() == COMPLETED


def test_a_silent_socket_is_a_stall_in_words_and_no_end(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, half_open)
    timing = dataclasses.replace(PATIENT, stall_after_s=0.2)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.stalled_since is not None)
    assert watched.download.speed_bytes_per_s is None
    assert watched.download.time_left_s is None
    assert "stalled" in repr(watched.download)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


def test_a_frame_now_and_then_is_enough(server: HostileServer, clients: Clients) -> None:
    frames = [step for value in (10, 20, 30) for step in (progress("IN-PROGRESS", value), pause(0.3))]
    server.answers["progress"] = websocket(*frames, *COMPLETES)
    timing = dataclasses.replace(PATIENT, silent_after_s=5)
    watched = follow(client_of(server, clients, timing=timing))
    assert watched.end() == COMPLETED
    assert next(shown.percentage for shown in watched.shown if shown.percentage) == 10
    assert server.count("progress") == 1


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("every_s", [0.0, 0.02])
def test_a_server_that_only_pings_is_still_asked(
    opcode: int, every_s: float, server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS, repeated(every_s, frame(b"still here", opcode)))
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


def test_a_ping_is_answered(server: HostileServer, clients: Clients) -> None:
    def wants_pong(line: Line) -> None:
        while b"\x8a" not in line.receive():
            pass
        for step in COMPLETES:
            line.send(step) if isinstance(step, bytes) else step(line)

    server.answers["progress"] = websocket(*STARTS, frame(b"", PING), wants_pong)
    assert ends(server, clients) == COMPLETED


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_frame_of_one_byte_at_a_time_holds_nothing_up(opcode: int, server: HostileServer, clients: Clients) -> None:
    long = frame({"status": "IN-PROGRESS", "percentage": 50, "filler": "x" * 10_000}, opcode)
    server.answers["progress"] = websocket(*STARTS, dripped(long, 0.01))
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


def test_a_frame_in_pieces_is_one_frame(server: HostileServer, clients: Clients) -> None:
    whole = progress("IN-PROGRESS", 77)
    done = threading.Event()
    server.answers["progress"] = websocket(*STARTS, dripped(whole, 0.02), until(done), *COMPLETES)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 77)
    done.set()
    assert watched.end() == COMPLETED
    assert server.count("progress") == 1


def test_endless_fragments_hold_nothing_up(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(
        *STARTS, frame(b"[", TEXT, fin=False), repeated(0.01, frame(b" ", CONTINUATION, fin=False))
    )
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


# What frames say ------------------------------------------------------------------------------------------------------

ODD_FRAMES: dict[str, bytes] = {
    **{
        f"percentage {value!r}"[:40]: progress("IN-PROGRESS", value)
        for value in (-1, 101, 1e308, 10**400, "37", None, True, [50], {"value": 50}, 12, 0, -0.0)
    },
    "percentage NaN": frame(b'{"status": "IN-PROGRESS", "percentage": NaN}'),
    "percentage Infinity": frame(b'{"status": "IN-PROGRESS", "percentage": Infinity}'),
    "percentage 1e999": frame(b'{"status": "IN-PROGRESS", "percentage": 1e999}'),
    "percentage of 5,000 digits": frame(b'{"status": "IN-PROGRESS", "percentage": ' + b"9" * 5000 + b"}"),
    "percentage missing": frame({"status": "IN-PROGRESS"}),
    "an unknown status": progress("VERIFYING", 99),
    "a status that is a number": frame({"status": 3, "percentage": 99}),
    "a status in lower case": progress("completed", 100),
    "nothing": frame({}),
    "an empty frame": frame(b""),
    "a list": frame([1, 2]),
    "null": frame(None),
    "a text": frame("COMPLETED"),
    "not JSON": frame(b"COMPLETED 100%"),
    "truncated JSON": frame(b'{"status": "COMPLETED", "perc'),
    "broken UTF-8": frame(b'{"status": "IN-PROGRESS", "note": "\xff\xfe"}'),
    "binary": frame(b"\x00\x01\x02" * 100, BINARY),
    "10,000 deep": frame(b"[" * 10_000 + b"]" * 10_000),
    "100,000 deep": frame(b'{"a":' * 100_000),
    "300 KiB": frame({"status": "IN-PROGRESS", "percentage": 12, "filler": "x" * 300 * 2**10}),
    "in fragments": frame(b'{"status": "IN-', TEXT, fin=False) + frame(b'PROGRESS"}', CONTINUATION),
}


@pytest.mark.parametrize("kind", ODD_FRAMES)
def test_an_odd_frame_changes_nothing(kind: str, server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers["progress"] = websocket(
        *STARTS, ODD_FRAMES[kind], progress("IN-PROGRESS", 41), until(done), *COMPLETES
    )
    watched = follow(client_of(server, clients))
    # 41 comes next whatever the odd frame was, and over the same socket: nothing else was believed, nothing broke.
    watched.wait_until(lambda download: download.percentage is not None and download.percentage > 40)
    assert watched.download.percentage == {"a status in lower case": 100}.get(kind, 99 if "status" in kind else 41)
    assert watched.download.status == "IN-PROGRESS"
    done.set()
    assert watched.end() == COMPLETED
    assert server.count("progress") == 1


def test_a_binary_frame_that_holds_a_status_counts(server: HostileServer, clients: Clients) -> None:
    data = b'{"status": "IN-PROGRESS", "percentage": 55}'
    done = threading.Event()
    server.answers["progress"] = websocket(frame(data, BINARY), until(done), *COMPLETES)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 55)
    done.set()
    assert watched.end() == COMPLETED


@pytest.mark.parametrize("odd", [b'"note": "\xff"', b'"size": ' + b"9" * 5000])
def test_what_cannot_be_read_in_a_frame_costs_itself_and_not_its_percentage(
    odd: bytes, server: HostileServer, clients: Clients
) -> None:
    done = threading.Event()
    said = frame(b'{"status": "IN-PROGRESS", "percentage": 55, ' + odd + b"}")
    server.answers["progress"] = websocket(*STARTS, said, until(done), *COMPLETES)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 55)
    done.set()
    assert watched.end() == COMPLETED


BREAKING_FRAMES: dict[str, bytes] = {
    "16 MiB": frame(b"x" * 16 * 2**20),
    "16 MiB in fragments": frame(b"[", TEXT, fin=False) + frame(b" " * 2**16, CONTINUATION, fin=False) * 256,
    "a head that says 2**62 bytes": frame(b"x" * 100, length=2**62),
    "reserved bits": b"\xf1\x02{}",
    "an opcode nobody knows": frame(b"{}", 3),
    "a continuation of nothing": frame(b"{}", CONTINUATION),
    "a text within a text": frame(b"{", TEXT, fin=False) + frame(b"{}", TEXT),
    "a ping too long": frame(b"x" * 200, PING),
    "a ping in fragments": frame(b"x", PING, fin=False),
    "a close frame of one byte": frame(b"x", 8),
    "a close frame with a code nobody knows": frame(struct.pack("!H", 77) + b"bye", 8),
    "HTTP in the middle": http({"status": "COMPLETED"}),
    "noise": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("kind", BREAKING_FRAMES)
def test_a_frame_that_breaks_the_protocol_costs_the_socket_and_nothing_else(
    kind: str, server: HostileServer, clients: Clients
) -> None:
    done = threading.Event()
    server.answers["progress"] = in_turn(
        websocket(*STARTS, BREAKING_FRAMES[kind]), websocket(progress("IN-PROGRESS", 60), until(done), *COMPLETES)
    )
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 60)
    done.set()
    assert watched.end() == COMPLETED
    assert server.count("progress") == 2


def test_percentages_that_go_back_are_not_shown(server: HostileServer, clients: Clients) -> None:
    values = [10, 50, 20, 60, 0, -1, 61, 5, 101, 62]
    frames = [step for value in values for step in (progress("IN-PROGRESS", value), pause(0.02))]
    server.answers["progress"] = websocket(*frames, seen_again(times=2), *COMPLETES)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 62)
    assert watched.end() == COMPLETED


def test_a_percentage_that_went_back_and_rises_again_is_not_shown(server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers["progress"] = websocket(
        *STARTS, pause(0.15), progress("IN-PROGRESS", 20), pause(0.15), progress("IN-PROGRESS", 30), until(done),
        *COMPLETES,
    )  # fmt: skip
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.state.raw_percentage == 30)
    assert watched.download.percentage == 40
    done.set()
    assert watched.end() == COMPLETED


def test_ten_thousand_frames_in_one_burst_are_a_few_updates(server: HostileServer, clients: Clients) -> None:
    burst = b"".join(progress("IN-PROGRESS", value / 100) for value in range(10_000))
    server.answers["progress"] = websocket(burst, seen_again(times=2), *COMPLETES)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 99.99)
    began = time.monotonic()
    assert watched.end() == COMPLETED
    assert len(watched.shown) < 20 + 10 * (time.monotonic() - began + watched.download.duration_s)


def test_a_flood_of_frames_does_not_keep_the_snapshots_out(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, repeated(0.0, progress("IN-PROGRESS", 40) * 500))
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models[ID].update(downloading=False, downloaded=True)
    assert watched.end() == COMPLETED


def test_reset_in_the_middle_starts_a_new_attempt(server: HostileServer, clients: Clients) -> None:
    again = threading.Event()
    server.answers["progress"] = websocket(
        *STARTS, until(again), progress("RESET"), progress("INITIALIZED", 0), progress("IN-PROGRESS", 5),
        seen_again(times=2), *COMPLETES,
    )  # fmt: skip
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    again.set()
    watched.wait_until(lambda download: download.percentage == 5)
    assert watched.download.state.attempt == 2
    assert watched.end() == COMPLETED


def test_reset_and_then_nothing_is_failed_after_the_grace(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, seen_again(), becomes(downloading=False), progress("RESET"))
    timing = dataclasses.replace(PATIENT, start_grace_s=0.4)
    status, error = ends(server, clients, timing=timing)
    assert status == "FAILED"
    assert "never began" in error or "without saying why" in error


# Frames and snapshots disagree ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", ["COMPLETED", "FAILED", "CANCELED"])
def test_the_old_end_repeated_on_connect_is_no_end(old: str, server: HostileServer, clients: Clients) -> None:
    server.answers["start"] = answers_after(lambda _model: None)  # `downloading` lags behind
    server.answers["progress"] = websocket(
        progress(old, 100), seen_again(times=3), becomes(downloading=True), *STARTS, seen_again(times=2), *COMPLETES
    )
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    assert watched.end() == COMPLETED
    assert all(shown.percentage in (None, 10, 40) for shown in watched.shown[:-1] if shown.percentage != 0)


@pytest.mark.parametrize("old", ["COMPLETED", "FAILED", "CANCELED"])
def test_the_old_end_is_no_end_either_when_the_answer_to_the_start_says_downloading(
    old: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["start"] = says(http(model_of(downloading=True)))  # the snapshot lags all the same
    server.answers["progress"] = websocket(
        progress(old, 100), seen_again(times=3), becomes(downloading=True), *STARTS, seen_again(times=2), *COMPLETES
    )
    assert ends(server, clients) == COMPLETED


@pytest.mark.parametrize("old", ["COMPLETED", "FAILED", "CANCELED"])
def test_the_old_end_and_then_nothing_is_failed_with_those_words(
    old: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["start"] = answers_after(lambda _model: None)
    server.answers["progress"] = websocket(progress(old, 100))
    status, error = ends(server, clients, timing=dataclasses.replace(PATIENT, start_grace_s=0.4))
    assert status == "FAILED"
    assert f"it never began: the server said {old}" in error


def test_an_old_end_does_not_hide_that_a_cancel_took_effect(server: HostileServer, clients: Clients) -> None:
    """A running download is joined, and the server repeats how the one before it ended."""
    server.models[ID].update(downloading=True)
    server.answers["progress"] = websocket(progress("FAILED"))
    timing = dataclasses.replace(PATIENT, start_grace_s=0.2)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.state.heard != "")
    server.wait_for("snapshot", server.count("snapshot") + 15)
    watched.download.cancel()
    assert watched.end()[0] == "CANCELED"


@pytest.mark.parametrize("word", ["COMPLETED", "FAILED", "CANCELED"])
def test_an_end_that_the_snapshot_denies_is_no_end(word: str, server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers["progress"] = websocket(
        *STARTS, progress(word, 100), seen_again(times=4), progress("IN-PROGRESS", 80), until(done), *COMPLETES
    )
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 80)
    done.set()
    assert watched.end() == COMPLETED
    assert 100 not in [shown.percentage for shown in watched.shown[:-1]]


@pytest.mark.parametrize("word", ["FAILED", "CANCELED"])
def test_a_snapshot_asked_for_before_an_end_was_said_does_not_confirm_it(
    word: str, server: HostileServer, clients: Clients
) -> None:
    asked, heard = threading.Event(), threading.Event()

    def old(line: Line, request: Request) -> None:
        asked.set()
        when(heard, says(http(model_of())))(line, request)

    polite = server.answers["snapshot"]
    server.answers["snapshot"] = in_turn(polite, polite, polite, old, polite)
    server.answers["progress"] = websocket(
        *STARTS, until(asked), pause(0.1), progress(word), until(heard), seen_again(times=2),
        progress("IN-PROGRESS", 60), seen_again(times=2), *COMPLETES,
    )  # fmt: skip
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.state.heard == f"the server said {word}")
    heard.set()
    assert watched.end() == COMPLETED


def test_completed_without_the_model_being_there_is_failed(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, becomes(downloading=False), progress("COMPLETED", 100))
    status, error = ends(server, clients, timing=dataclasses.replace(PATIENT, start_grace_s=0.4))
    assert status == "FAILED"
    assert "the server said COMPLETED, but the model is not downloaded" in error


@pytest.mark.parametrize("word", ["FAILED", "CANCELED"])
def test_a_failure_is_overruled_when_the_model_is_there(word: str, server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, COMPLETES[0], progress(word))
    assert ends(server, clients) == COMPLETED


def test_downloaded_in_the_answer_to_the_start_is_not_believed_alone(server: HostileServer, clients: Clients) -> None:
    server.answers["start"] = answers_after(
        lambda model: model.update(downloading=True), http(model_of(downloaded=True))
    )
    server.answers["progress"] = websocket(*STARTS, seen_again(times=2), becomes(downloading=False), progress("FAILED"))
    status, error = ends(server, clients)
    assert status == "FAILED"
    assert "the server said FAILED" in error


# The start ------------------------------------------------------------------------------------------------------------

STARTED = {"downloading": True}
START_ANSWERS: dict[str, bytes] = {
    "202 and a text": text("accepted", "202 Accepted"),
    "204": http(b"", "204 No Content"),
    "200 and nothing": http(b""),
    "200 and HTML": http(b"<html>fine</html>", "200 OK", "Content-Type: text/html"),
    "200 and half a model": http(b'{"id": "1111'),
    "200 and a list": http([]),
    "200 and another model": http(model_of(OTHER_ID, downloaded=True)),
    "302": http(b"", "302 Found", "Location: http://127.0.0.1:9/"),
    "500 though it began": text("too late to say no", "500 Internal Server Error"),
    "no HTTP": b"fine, starting\r\n\r\n",
}


@pytest.mark.parametrize("kind", START_ANSWERS)
def test_whatever_answers_the_start_the_snapshot_decides(kind: str, server: HostileServer, clients: Clients) -> None:
    def start(line: Line, request: Request) -> None:
        line.server.models[ID].update(STARTED)
        says_and_hangs_up(START_ANSWERS[kind])(line, request)

    server.answers["start"] = start
    server.answers["progress"] = websocket(*STARTS, *COMPLETES)
    assert ends(server, clients) == COMPLETED
    assert server.count("start") == 1


@pytest.mark.parametrize("how", [hang_up, reset])
def test_a_start_whose_answer_is_lost_is_not_made_twice(
    how: Behaviour, server: HostileServer, clients: Clients
) -> None:
    def start(line: Line, request: Request) -> None:
        line.server.models[ID].update(STARTED)
        how(line, request)

    server.answers["start"] = start
    server.answers["progress"] = websocket(*STARTS, *COMPLETES)
    assert ends(server, clients) == COMPLETED
    assert server.count("start") == 1


def test_a_start_that_times_out_is_no_error(server: HostileServer, clients: Clients) -> None:
    def start(line: Line, _request: Request) -> None:
        line.server.models[ID].update(STARTED)
        line.hold()

    server.answers["start"] = start
    server.answers["progress"] = websocket(*STARTS, seen_again(times=3), *COMPLETES)
    assert follow(hurried(client_of(server, clients), 0.3)).end() == COMPLETED


def test_the_socket_waits_for_the_answer_to_the_start(server: HostileServer, clients: Clients) -> None:
    """Opened before, it would hear of an earlier download."""
    opened: list[int] = []

    def start(line: Line, request: Request) -> None:
        line.server.models[ID].update(STARTED)
        seen_again(times=3)(line)
        opened.append(line.server.count("progress"))
        says(http(line.server.models[ID]))(line, request)

    server.answers.update(start=start, progress=websocket(*STARTS, seen_again(times=2), *COMPLETES))
    timing = dataclasses.replace(PATIENT, start_answer_s=DEADLINE_S)
    assert ends(server, clients, timing=timing) == COMPLETED
    assert opened == [0]
    assert server.count("progress") == 1


def test_a_start_that_is_answered_at_the_end_does_not_keep_the_progress_back(
    server: HostileServer, clients: Clients
) -> None:
    """The answer takes as long as the transfer; the socket is opened all the same."""
    answer = threading.Event()

    def start(line: Line, request: Request) -> None:
        line.server.models[ID].update(STARTED)
        when(answer, says(http(line.server.models[ID])))(line, request)

    server.answers["start"] = start
    server.answers["progress"] = websocket(*STARTS, until(answer), *COMPLETES)
    timing = dataclasses.replace(PATIENT, start_answer_s=0.1)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.percentage == 40)
    assert watched.download.status == "IN-PROGRESS"
    answer.set()
    assert watched.end() == COMPLETED


def test_the_late_words_of_a_start_that_failed_are_the_reason(server: HostileServer, clients: Clients) -> None:
    answer = threading.Event()

    def start(line: Line, _request: Request) -> None:
        line.server.models[ID].update(STARTED)
        until(answer)(line)
        line.server.models[ID].update(downloading=False)
        line.send(text("The engine behind is missing.", "500 Internal Server Error"))

    server.answers["start"] = start
    server.answers["progress"] = nothing_there
    timing = dataclasses.replace(PATIENT, start_answer_s=0.1, settle_s=1.0)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.status == "IN-PROGRESS")
    answer.set()
    status, error = watched.end()
    assert status == "FAILED"
    assert "The engine behind is missing." in error


@pytest.mark.parametrize("reason", ["No space left on device", "Ollama is not running. Install it from Pieces."])
def test_a_refused_start_is_failed_in_the_servers_words(reason: str, server: HostileServer, clients: Clients) -> None:
    server.answers["start"] = says(text(reason, "500 Internal Server Error"))
    status, error = ends(server, clients)
    assert status == "FAILED"
    assert reason in error


def test_a_refused_start_of_what_runs_already_is_joined(server: HostileServer, clients: Clients) -> None:
    """Somebody else began it between our look and our call."""

    def start(line: Line, request: Request) -> None:
        line.server.models[ID].update(STARTED)
        says(text("already downloading", "500 Internal Server Error"))(line, request)

    server.answers["start"] = start
    server.answers["progress"] = websocket(*STARTS, seen_again(times=2), *COMPLETES)
    assert ends(server, clients) == COMPLETED


def test_two_calls_for_one_download_start_it_once(server: HostileServer, clients: Clients) -> None:
    server.answers["start"] = late(0.1, server.answers["start"])
    done = threading.Event()
    server.answers["progress"] = websocket(*STARTS, until(done), *COMPLETES)
    client = client_of(server, clients)
    watched = follow(client)
    assert client.download(ID) is watched.download
    assert client.progress(ID)[0] is watched.download
    done.set()
    assert watched.end() == COMPLETED
    assert server.count("start") == 1


def test_a_download_that_runs_is_joined_and_not_started(server: HostileServer, clients: Clients) -> None:
    server.models[ID].update(STARTED)
    server.answers["progress"] = websocket(progress("IN-PROGRESS", 40), seen_again(times=2), *COMPLETES)
    watched = follow(client_of(server, clients))
    assert watched.download.joined
    assert watched.end() == COMPLETED
    assert server.count("start") == 0


def test_a_model_that_is_there_is_a_no_op(server: HostileServer, clients: Clients) -> None:
    server.models[ID].update(downloaded=True)
    assert ends(server, clients) == COMPLETED
    assert server.calls()[-1] == "snapshot"


def test_a_download_that_never_begins_is_failed_after_the_grace(server: HostileServer, clients: Clients) -> None:
    server.answers["start"] = answers_after(lambda _model: None)
    status, error = ends(server, clients, timing=dataclasses.replace(PATIENT, start_grace_s=0.4))
    assert status == "FAILED"
    assert "it never began: the server said nothing" in error


# The snapshots --------------------------------------------------------------------------------------------------------

GONE = text("Model not found", "410 Gone")
NO_SNAPSHOTS: dict[str, Behaviour] = {
    "500": says(text("database is locked", "500 Internal Server Error")),
    "404": nothing_there,
    "HTML": says(http(b"<html><title>Sign in</title></html>", "200 OK", "Content-Type: text/html")),
    "nothing": says(http(b"")),
    "null": says(http(None)),
    "a list": says(http([model_of(downloaded=True)])),
    "truncated JSON": says(http(b'{"id": "' + ID.encode() + b'", "downloaded": true')),
    "10,000 deep": says(http(b"[" * 10_000 + b"]" * 10_000)),
    "a length that lies": says_and_hangs_up(http(model_of(downloaded=True), length=10_000)),
    "another model": says(http(model_of(OTHER_ID, downloaded=True))),
    "a redirect": says(http(b"", "302 Found", "Location: http://127.0.0.1:9/")),
    "gzip": says(http(b"\x1f\x8b" + b"\0" * 100, "200 OK", "Content-Encoding: gzip")),
    "no HTTP": says_and_hangs_up(b"\0\1\2\3\r\n\r\n"),
    "closes": hang_up,
    "resets": reset,
}


@pytest.mark.parametrize("kind", NO_SNAPSHOTS)
def test_snapshots_that_fail_in_the_middle_are_asked_for_again(
    kind: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.state.seen_downloading)
    well, server.answers["snapshot"] = server.answers["snapshot"], NO_SNAPSHOTS[kind]
    server.wait_for("snapshot", server.count("snapshot") + 4)
    assert not watched.download.done
    server.models[ID].update(downloading=False, downloaded=True)
    server.answers["snapshot"] = well
    assert watched.end() == COMPLETED


@pytest.mark.parametrize("kind", NO_SNAPSHOTS)
def test_a_server_that_stays_so_is_lost_and_the_error_says_since_when(
    kind: str, server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = in_turn(websocket(*STARTS, seen_again(), cut), hang_up)
    watched = follow(client_of(server, clients, timing=IMPATIENT))
    watched.wait_until(lambda download: download.percentage == 40)
    server.answers["snapshot"] = NO_SNAPSHOTS[kind]
    status, error = watched.end()
    assert status == "FAILED"
    assert "no answer since " in error
    assert "last seen 40 %" in error


HOLDING: dict[str, Behaviour] = {
    "silence": silence,
    "headers of one byte at a time": drips(http(model_of()), 0.05),
    "a body of one byte at a time": drips(http(model_of()), 0.05, at_once=100),
    "100 Continue for ever": for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", every_s=0.01),
    "chunks of one byte": for_ever(
        b"1\r\n \r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", every_s=0.02
    ),
    "endless headers": for_ever(b"X: y\r\n", b"HTTP/1.1 200 OK\r\n", every_s=0.02),
}


@pytest.mark.parametrize("kind", HOLDING)
def test_snapshots_that_never_end_are_no_answer(kind: str, server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = in_turn(websocket(*STARTS, seen_again(), half_open), hang_up)
    client = hurried(client_of(server, clients, timing=IMPATIENT), 0.3)
    watched = follow(client)
    watched.wait_until(lambda download: download.percentage == 40)
    server.answers["snapshot"] = HOLDING[kind]
    status, error = watched.end()
    assert status == "FAILED"
    assert "no answer since " in error
    assert "last seen 40 %" in error


def test_a_model_that_disappears_is_failed(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models.clear()
    status, error = watched.end()
    assert status == "FAILED"
    assert "the model is gone" in error
    assert "Model not found" in error


def test_a_model_whose_id_changes_is_lost(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = in_turn(websocket(*STARTS), hang_up)
    watched = follow(client_of(server, clients, timing=IMPATIENT))
    watched.wait_until(lambda download: download.percentage == 40)
    server.models[ID].update(id=OTHER_ID, downloaded=True, downloading=False)
    status, error = watched.end()
    assert status == "FAILED"
    assert "another model" in error


ODD_FLAGS = ("true", 1, [True], {"value": True}, None)


@pytest.mark.parametrize("value", ODD_FLAGS)
def test_a_downloaded_of_a_wrong_type_is_neither_true_nor_false(
    value: object, server: HostileServer, clients: Clients
) -> None:
    server.answers["start"] = answers_after(lambda model: model.update(downloaded=value))
    server.answers["progress"] = nothing_there
    follow_on_until_downloaded(server, clients)


@pytest.mark.parametrize("value", ODD_FLAGS)
def test_a_downloading_of_a_wrong_type_is_neither_true_nor_false(
    value: object, server: HostileServer, clients: Clients
) -> None:
    server.answers["start"] = answers_after(lambda model: model.update(downloading=value))
    server.answers["progress"] = nothing_there
    follow_on_until_downloaded(server, clients)


def test_a_flag_seen_before_the_start_took_effect_is_no_sign_that_it_never_began(
    server: HostileServer, clients: Clients
) -> None:
    def start(line: Line, request: Request) -> None:
        seen_again(times=2)(line)
        answers_after(lambda model: model.update(downloading="odd"))(line, request)

    server.answers.update(start=start, progress=nothing_there)
    follow_on_until_downloaded(server, clients)


def follow_on_until_downloaded(server: HostileServer, clients: Clients) -> None:
    """A flag of a wrong type tells nothing: neither that it has begun, nor that it has ended."""
    timing = dataclasses.replace(PATIENT, start_grace_s=0.1, stall_after_s=0.2)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.stalled_since is not None)
    server.wait_for("snapshot", server.count("snapshot") + 10)
    assert not watched.download.state.alive
    server.models[ID].update(downloaded=True)
    assert watched.end() == COMPLETED


# The server goes and comes --------------------------------------------------------------------------------------------


def test_a_server_that_restarts_on_its_port_is_followed_on(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    server.stop()
    watched.wait_until(lambda download: download.state.silent_since is not None)
    server.answers["progress"] = websocket(progress("IN-PROGRESS", 60), seen_again(), *COMPLETES)
    server.start()
    assert watched.end() == COMPLETED
    assert server.count("start") == 1


def test_a_server_that_restarts_and_has_forgotten_the_download_is_failed(
    server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients, timing=SOON))
    watched.wait_until(lambda download: download.percentage == 40 and download.state.seen_downloading)
    server.stop()
    watched.wait_until(lambda download: bool(download.state.outages))
    server.models[ID].update(downloading=False)
    server.answers["progress"] = websocket()
    server.start()
    status, error = watched.end()
    assert status == "FAILED"
    assert re.search(r"the server went away at \d\d:\d\d and was back at \d\d:\d\d; .* did not survive it", error)
    [outage] = watched.download.state.outages
    assert outage.ended is not None
    assert outage.began <= outage.ended


def test_a_server_that_stays_away_is_lost_and_the_error_says_where_it_stood(
    server: HostileServer, clients: Clients
) -> None:
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients, timing=IMPATIENT))
    watched.wait_until(lambda download: download.percentage == 40)
    server.stop()
    status, error = watched.end()
    assert status == "FAILED"
    assert "no answer since " in error
    assert "last seen 40 %" in error
    assert f"127.0.0.1:{server.port}" in error


def test_a_server_that_hangs_with_the_socket_open_is_lost(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, half_open)
    watched = follow(hurried(client_of(server, clients, timing=IMPATIENT), 0.3))
    watched.wait_until(lambda download: download.percentage == 40)
    server.answers["snapshot"] = silence
    status, error = watched.end()
    assert status == "FAILED"
    assert "did not answer within 0.3 s" in error


# Waiting and canceling ------------------------------------------------------------------------------------------------


def test_waiting_has_a_timeout_and_the_download_goes_on(server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers["progress"] = websocket(*STARTS, until(done), *COMPLETES)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    with pytest.raises(WaitTimeout) as caught:
        watched.download.wait(timeout=0.05)
    goes_on = "Phi-2: IN-PROGRESS at 40 % after 0.05 s of waiting; the download goes on. "
    assert str(caught.value) == goes_on + "`client.cancel('Phi-2')` stops it."
    assert not watched.download.done
    done.set()
    assert watched.end() == COMPLETED


def test_a_cancel_returns_when_it_is_confirmed(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    watched.download.cancel()
    assert watched.download.status == "CANCELED"
    status, error = watched.end()
    assert status == "CANCELED"
    assert "was canceled" in error
    watched.download.cancel()  # again is fine
    with pytest.raises(DownloadCanceled):
        watched.download.wait()


CANCEL_ANSWERS: dict[str, Behaviour] = {
    "204": says(http(b"", "204 No Content")),
    "202 and a text": says(text("ok", "202 Accepted")),
    "HTML": says(http(b"<p>ok", "200 OK", "Content-Type: text/html")),
    "half a model": says_and_hangs_up(http(b'{"id"', length=1000)),
    "silence": silence,
    "closes": hang_up,
    "headers of one byte at a time": drips(http(model_of()), 0.05),
}


@pytest.mark.parametrize("kind", CANCEL_ANSWERS)
def test_whatever_answers_the_cancel_the_snapshot_confirms_it(
    kind: str, server: HostileServer, clients: Clients
) -> None:
    def cancel(line: Line, request: Request) -> None:
        line.server.models[ID].update(downloading=False)
        CANCEL_ANSWERS[kind](line, request)

    server.answers.update(cancel=cancel, progress=websocket(*STARTS))
    watched = follow(hurried(client_of(server, clients), 0.5))
    watched.wait_until(lambda download: download.percentage == 40)
    watched.download.cancel()
    assert watched.end()[0] == "CANCELED"


def test_a_cancel_that_is_not_answered_returns_as_soon_as_it_is_confirmed(
    server: HostileServer, clients: Clients
) -> None:
    def cancel(line: Line, _request: Request) -> None:
        line.server.models[ID].update(downloading=False)
        line.hold()

    server.answers.update(cancel=cancel, progress=websocket(*STARTS))
    watched = follow(client_of(server, clients, timeout_s=2 * DEADLINE_S))
    watched.wait_until(lambda download: download.percentage == 40)
    canceling = threading.Thread(target=watched.download.cancel)
    canceling.start()
    canceling.join(DEADLINE_S)
    confirmed = not canceling.is_alive()
    server.stop()
    canceling.join()
    assert confirmed
    assert watched.end()[0] == "CANCELED"


def test_a_cancel_that_does_not_take_is_said_to_be_so(server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers.update(cancel=says(http(model_of())), progress=websocket(*STARTS, until(done), *COMPLETES))
    watched = follow(client_of(server, clients, timing=IMPATIENT))
    watched.wait_until(lambda download: download.percentage == 40)
    with pytest.raises(CancelNotConfirmed, match=r"Phi-2: asked to cancel, but 0.3 s later .* says IN-PROGRESS"):
        watched.download.cancel()
    assert watched.download.status == "IN-PROGRESS"
    done.set()
    assert watched.end() == COMPLETED


def test_after_a_cancel_that_did_not_take_the_server_is_asked_no_more_often_than_before(
    server: HostileServer, clients: Clients
) -> None:
    server.answers.update(cancel=says(http(model_of())), progress=websocket(*STARTS))
    timing = dataclasses.replace(IMPATIENT, poll_s=30.0)
    watched = follow(client_of(server, clients, timing=timing))
    watched.wait_until(lambda download: download.percentage == 40)
    with pytest.raises(CancelNotConfirmed):
        watched.download.cancel()
    watched.wait_until(lambda download: download.state.ask_at - time.monotonic() > 10)
    server.models[ID].update(downloading=False)
    with pytest.raises(DownloadCanceled):
        _cancel_and_wait(watched)


def _cancel_and_wait(watched: Watched) -> None:
    watched.download.cancel()
    watched.download.wait(DEADLINE_S)


def test_a_cancel_that_is_refused_says_the_servers_words(server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers.update(
        cancel=says(text("it cannot be stopped now", "500 Internal Server Error")),
        progress=websocket(*STARTS, until(done), *COMPLETES),
    )
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    with pytest.raises(CancelNotConfirmed, match="refused to cancel: it cannot be stopped now") as caught:
        watched.download.cancel()
    assert isinstance(caught.value.__cause__, PiecesServerError)
    done.set()
    assert watched.end() == COMPLETED


def test_a_cancel_that_comes_too_late_is_completed(server: HostileServer, clients: Clients) -> None:
    server.answers["cancel"] = answers_after(lambda model: model.update(downloading=False, downloaded=True))
    server.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    with pytest.raises(CancelNotConfirmed, match="ended in COMPLETED before the cancel took effect"):
        watched.download.cancel()
    assert watched.end() == COMPLETED
    with pytest.raises(ModelStateError, match="not downloading: it ended in COMPLETED"):
        watched.download.cancel()


@pytest.mark.parametrize("words", [(), (progress("CANCELED"),), (progress("RESET"),), (progress("UNKNOWN"),)])
def test_whatever_is_said_after_a_cancel_it_is_canceled(
    words: tuple[bytes, ...], server: HostileServer, clients: Clients
) -> None:
    canceled = threading.Event()

    def cancel(line: Line, request: Request) -> None:
        line.server.models[ID].update(downloading=False)
        canceled.set()
        says(http(line.server.models[ID]))(line, request)

    server.answers.update(cancel=cancel, progress=websocket(*STARTS, until(canceled), *words))
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.percentage == 40)
    watched.download.cancel()
    assert watched.end()[0] == "CANCELED"


def test_a_cancel_while_the_start_is_unanswered_is_sent_all_the_same(server: HostileServer, clients: Clients) -> None:
    """The answer to the start comes after a minute; nobody who cancels waits for it."""
    canceled = threading.Event()

    def start(line: Line, request: Request) -> None:
        line.server.models[ID].update(STARTED)
        when(canceled, says(http(line.server.models[ID])))(line, request)

    def cancel(line: Line, request: Request) -> None:
        line.server.models[ID].update(downloading=False)
        says(http(line.server.models[ID]))(line, request)
        canceled.set()

    server.answers.update(start=start, cancel=cancel, progress=websocket(*STARTS))
    timing = dataclasses.replace(PATIENT, start_answer_s=0.1, cancel_within_s=DEADLINE_S)
    watched = follow(client_of(server, clients, timing=timing))
    server.wait_for("start")
    watched.download.cancel()
    assert watched.end()[0] == "CANCELED"


def test_a_download_canceled_elsewhere_is_canceled(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, becomes(downloading=False), progress("CANCELED"))
    assert ends(server, clients)[0] == "CANCELED"


def test_closing_the_client_in_the_middle_leaves_nothing(server: HostileServer, clients: Clients) -> None:
    server.answers["progress"] = websocket(*STARTS, half_open)
    client = client_of(server, clients)
    watched = follow(client)
    watched.wait_until(lambda download: download.percentage == 40)
    client.close()
    assert watched.download.closed
    with pytest.raises(PiecesError, match="nobody follows this download any more"):
        watched.download.wait(DEADLINE_S)
    assert server.count("cancel") == 0


@pytest.mark.parametrize("call", ["start", "snapshot", "progress"])
def test_closing_the_client_while_a_call_hangs_leaves_nothing(
    call: str, server: HostileServer, clients: Clients
) -> None:
    polite = server.answers[call]
    server.answers[call] = in_turn(polite, silence) if call == "snapshot" else silence
    client = hurried(client_of(server, clients), 0.5)
    watched = follow(client)
    server.wait_for(call, 2 if call == "snapshot" else 1)
    client.close()
    assert not watched.download.done


def test_many_at_once_end_each_in_its_own_way(make_server: MakeServer, clients: Clients) -> None:
    server = make_server()
    ids = [f"11111111-2222-4333-8444-{number:012d}" for number in range(12)]
    server.models = {model_id: model_of(model_id, f"Phi-2 {model_id[-2:]}") for model_id in ids}

    def run(line: Line, request: Request) -> None:
        model_id = request.target.split("/")[2]
        end: tuple[Step, ...]
        match int(model_id[-2:]) % 3:
            case 0:
                end = (becomes(model_id, downloading=False, downloaded=True), progress("COMPLETED", 100), close)
            case 1:
                end = (becomes(model_id, downloading=False), progress("FAILED"), cut)
            case _:
                end = (becomes(model_id, downloading=False), progress("CANCELED"), crash)
        websocket(*STARTS, pause(0.2), *end)(line, request)

    server.answers["progress"] = run
    client = client_of(server, clients)
    watched = [follow(client, model_id) for model_id in ids]
    expected = ["COMPLETED", "FAILED", "CANCELED"] * 4
    assert [one.end()[0] for one in watched] == expected
    assert len(client.downloads) == 0
    assert [entry.outcome for entry in client.history.entries() if entry.verb == "download"].count("FAILED") == 4
    waiting.until(lambda: not clients[0].downloads, lambda: "downloads that are still followed")


def test_the_updates_of_many_at_once_keep_within_one_budget_and_every_end_is_shown(
    make_server: MakeServer, clients: Clients
) -> None:
    server = make_server()
    ids = [f"11111111-2222-4333-8444-{number:012d}" for number in range(12)]
    server.models = {model_id: model_of(model_id, f"Phi-2 {model_id[-2:]}") for model_id in ids}
    frames = [step for value in range(50) for step in (progress("IN-PROGRESS", value), pause(0.03))]

    def run(line: Line, request: Request) -> None:
        there = becomes(request.target.split("/")[2], downloading=False, downloaded=True)
        websocket(*STARTS[:1], *frames, there, progress("COMPLETED", 100))(line, request)

    server.answers["progress"] = run
    client = client_of(server, clients)
    began = time.monotonic()
    watched = [follow(client, model_id) for model_id in ids]
    assert [one.end() for one in watched] == [COMPLETED] * len(ids)
    took_s = time.monotonic() - began
    updates = sum(not shown.done for one in watched for shown in one.shown)
    assert updates <= MOST_PER_S * (took_s + INTERVAL_S) + 1


ODD_PERCENTAGES = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize("value", ODD_PERCENTAGES)
def test_a_first_percentage_that_is_no_number_is_unknown(value: float, server: HostileServer, clients: Clients) -> None:
    done = threading.Event()
    server.answers["progress"] = websocket(
        frame(f'{{"status": "IN-PROGRESS", "percentage": {value}}}'.encode()), until(done), *COMPLETES
    )
    watched = follow(client_of(server, clients))
    watched.wait_until(lambda download: download.status == "IN-PROGRESS")
    assert watched.download.percentage is None
    assert watched.download.moved_bytes is None
    done.set()
    assert watched.end() == COMPLETED
