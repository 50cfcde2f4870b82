"""`doctor`: what is looked at, what is said of it, and that nobody waits long for it."""

from __future__ import annotations

import getpass
import json
import platform
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import pytest

from pieces_nb import ModelClient, doctor
from pieces_nb.doctor import Check, Subject, examine
from pieces_nb.emulator import Emulator
from pieces_nb.errors import PiecesServerError
from pieces_nb.text import Front, worded
from pieces_nb.wire import discovery, endpoints

READY = {"version": "1"}


@pytest.fixture(autouse=True)
def _no_port_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "port_files", list)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


@pytest.fixture
def web_server() -> Iterator[str]:
    """A web server that is not Pieces OS."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_server_that_is_well_gets_its_ticks(server: Emulator) -> None:
    checks = examine(Subject(server.url))
    assert named(checks, "Pieces OS").ok
    assert "emulator" in named(checks, "version").seen
    assert named(checks, "models").seen.startswith("5 models, 4 of them local, 1 downloaded, 0 loaded")
    assert named(checks, "engine").ok
    assert {"memory", "disk", "where this runs", "versions", "proxy variables"} <= {check.name for check in checks}


def test_nothing_found_says_what_was_tried_and_what_to_do_in_the_callers_words() -> None:
    check = named(examine(Subject(ports=())), "Pieces OS")
    assert check.ok is False
    assert "39300" in check.seen
    assert "`%pieces_model connect emulator`" in worded(check.step, Front.NOTEBOOK)
    assert "`--url http://127.0.0.1:PORT`" in worded(check.step, Front.TERMINAL)
    assert "`ModelClient.emulator()`" in worded(check.step, Front.PYTHON)


def test_another_program_at_a_given_address_has_a_next_step_in_the_callers_words(web_server: str) -> None:
    check = named(examine(Subject(web_server, "PIECES_OS_URL")), "Pieces OS")
    assert check.seen == f"something answers at {web_server}, but it is not Pieces OS (from PIECES_OS_URL)"
    assert "`--url http://127.0.0.1:PORT`" in worded(check.step, Front.TERMINAL)
    assert "ModelClient" not in worded(check.step, Front.TERMINAL)
    assert "`%pieces_model connect http://127.0.0.1:PORT`" in worded(check.step, Front.NOTEBOOK)


def test_a_given_address_that_is_dead_says_who_gave_it() -> None:
    check = named(examine(Subject("http://127.0.0.1:9", "PIECES_OS_URL")), "Pieces OS")
    assert check.ok is False
    assert check.seen.endswith("(from PIECES_OS_URL)")


def test_a_server_that_stays_silent_is_not_waited_for(silent: int) -> None:
    began = time.monotonic()
    checks = examine(Subject(f"http://127.0.0.1:{silent}"))
    assert doctor.WITHIN_S <= 2.0
    assert time.monotonic() - began < 30.0  # it never answers; a busy machine may be late
    assert named(checks, "Pieces OS").ok is not True
    assert "pieces_nb" in named(checks, "versions").seen


@pytest.mark.parametrize(
    ("version", "ok", "words"),
    [
        ("6.31.0", True, ""),
        ("7.0.1", False, "loses what threads show"),
        ("7.3.0", None, "can leave a cell at [*]"),
        ("7.4.0", True, ""),
    ],
)
def test_a_kernel_with_a_known_fault_is_named(
    monkeypatch: pytest.MonkeyPatch, version: str, ok: bool | None, words: str
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    check = named(examine(Subject(ports=())), "versions")
    assert check.ok is ok
    assert words in worded(check.step, Front.NOTEBOOK)
    assert bool(check.step) is bool(words)


def test_another_program_on_a_port_of_pieces_os_is_told(silent: int) -> None:
    checks = examine(Subject(ports=(silent,)))
    assert str(silent) in named(checks, "other programs on its ports").seen


@pytest.mark.parametrize(
    ("text", "words"),
    [("null", "names no port"), ("9", "says 9 and is stale: Pieces OS does not answer there")],
)
def test_a_port_file_that_is_stale_or_empty_is_told(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".port.txt"
    file.write_text(text, "utf-8")
    monkeypatch.setattr(discovery, "port_files", lambda: [file])
    check = named(examine(Subject(ports=())), "port files")
    assert check.ok is None
    assert check.seen.endswith(words)


def test_a_list_without_local_models_says_why_and_what_to_do() -> None:
    with Emulator(models=[{"name": "GPT-4o", "cloud": True}]) as server:
        check = named(examine(Subject(server.url)), "models")
    assert check.ok is False
    assert check.seen.startswith("1 model, 0 of them local")
    assert check.step


def test_a_list_that_cannot_be_had_is_told_in_the_servers_words(
    server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_transport: object) -> NoReturn:
        raise PiecesServerError("500 to /models: out of memory", status=500)

    monkeypatch.setattr(endpoints, "models", refused)
    monkeypatch.setattr(endpoints, "engine_status", refused)
    checks = examine(Subject(server.url))
    assert (named(checks, "models").ok, named(checks, "models").seen) == (False, "500 to /models: out of memory")
    assert (named(checks, "engine").ok, named(checks, "engine").seen) == (None, "500 to /models: out of memory")


@pytest.mark.parametrize(
    ("answer", "ok", "step"),
    [
        (None, None, ""),
        ({}, False, "`pieces-nb engine install --yes`"),
        ({"installation": READY, "updateRequired": {"version": "2"}}, False, "`pieces-nb engine update --yes`"),
        (
            {"installation": READY, "updateRequired": {"version": "2", "userManaged": True}},
            False,
            "Update it yourself, as it was installed.",
        ),
        ({"installation": READY}, True, ""),
    ],
)
def test_an_engine_that_is_not_ready_has_its_next_step(
    answer: object, ok: bool | None, step: str, server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "engine_status", lambda _transport: answer)
    check = named(examine(Subject(server.url)), "engine")
    assert (check.ok, worded(check.step, Front.TERMINAL)) == (ok, step)


def test_pieces_os_is_found_also_where_two_run_and_is_told_from_an_emulator(
    server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = discovery.identify(server.url, timeout_s=9)._replace(version="12.0.0")
    others = {
        39301: real,
        39302: real._replace(url="http://127.0.0.1:39302"),
        39303: real._replace(version="12.0.0-emulator"),
    }
    monkeypatch.setattr(discovery, "survey", lambda _ports: others)
    checks = examine(Subject())
    found = f"found at {server.url}; also at http://127.0.0.1:39302, the lowest port is taken"
    assert (named(checks, "Pieces OS").ok, named(checks, "Pieces OS").seen) == (True, found)
    assert named(checks, "models").ok


def test_a_host_whose_loopback_is_not_the_users_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "somebody")
    assert "), a JupyterHub: " in named(examine(Subject(ports=())), "where this runs").seen
    monkeypatch.delenv("JUPYTERHUB_USER")
    monkeypatch.setattr(platform, "release", lambda: "5.15.90.1-microsoft-standard-WSL2")
    assert "), WSL: " in named(examine(Subject(ports=())), "where this runs").seen


def test_memory_and_disk_of_another_machine_are_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = discovery.Found("http://192.0.2.1:39300", "12.0.0")
    monkeypatch.setattr(discovery, "identify", lambda _url, **_options: found)
    monkeypatch.setattr(endpoints, "models", lambda _transport: [])
    monkeypatch.setattr(endpoints, "engine_status", lambda _transport: None)
    checks = examine(Subject(found.url))
    assert [named(checks, name).seen for name in ("memory", "disk")] == ["of the server's machine: not known"] * 2


def test_python_gets_the_checks_as_a_table(client: ModelClient) -> None:
    table = client.doctor()
    assert table.columns.tolist() == ["ok", "check", "seen", "next_step"]
    assert "Pieces OS" in table["check"].tolist()


def test_the_report_has_no_names_paths_or_secrets(
    server: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.example:3128")
    file = tmp_path / ".port.txt"
    file.write_text("9", "utf-8")
    monkeypatch.setattr(discovery, "port_files", lambda: [file])
    report = json.dumps([[check.name, check.ok, dict(check.facts)] for check in examine(Subject(server.url))])
    for private in ("secret", "proxy.example", str(tmp_path), str(Path.home()), socket.gethostname(), "Phi-2"):
        assert private not in report
    assert getpass.getuser() == "root" or getpass.getuser() not in report


def test_a_check_that_breaks_hides_no_other(server: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_environment: object) -> Check:
        raise RuntimeError("of its own")

    monkeypatch.setattr(doctor, "_proxies", breaks)
    checks = examine(Subject(server.url))
    assert named(checks, "proxies").seen == "cannot be told: RuntimeError('of its own')"
    assert named(checks, "Pieces OS").ok


def test_what_a_slow_server_has_answered_in_time_is_told(server: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(endpoints, "models", lambda _transport: go.wait(30) and [])
    seen = [(check.name, check.ok, check.seen) for check in examine(Subject(server.url), within_s=1.0)]
    assert ("Pieces OS", True, f"answers at {server.url}") in seen
    assert "version" in [name for name, *_ in seen]
    assert ("Pieces OS", None, "no answer within 1 s") in seen
    go.set()
