"""The command: its line, its flags, its ends."""

from __future__ import annotations

import argparse
import signal
import sys

import pytest

from pieces_nb.emulator import Emulator, Faults, Switches
from pieces_nb.emulator.cli import add_arguments, main
from pieces_nb.emulator.server import _RESERVED_PORTS
from tests.emulator.support import Api, process

LLAMA = "e3010a70-0000-4000-8000-000000000001"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_where_it_listens_and_ends_cleanly(number: signal.Signals, code: int) -> None:
    with process() as (running, url):
        api = Api(url)
        assert api.get("/.well-known/version").text.endswith("-emulator")
        assert int(url.rsplit(":", 1)[1]) not in _RESERVED_PORTS
        api.start(LLAMA)
        api.session.close()
        running.send_signal(number)
        out, err = running.communicate(timeout=10)

    assert (running.returncode, out, err) == (code, "", "")


def test_a_port_in_use_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(models=[]) as emulator:
        code = main(["--port", str(emulator.port)])

    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "is in use already" in err


def test_flags_set_rate_switches_and_faults() -> None:
    arguments = ["--rate", "inf", "--no-repeat-old-status", "--idle", "unknown", "--fail-at", "50"]
    with process(*arguments, "--fail-text", "100 % gone", "--failed-frame-says-why") as (_, url):
        api = Api(url)
        with api.listening(LLAMA) as listener:
            assert listener.frame() == {"status": "UNKNOWN"}
            api.start(LLAMA)
            assert listener.to_end()[-1]["message"] == "100 % gone"
        api.session.close()


def test_without_flags_the_settings_are_the_defaults() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    found = vars(parser.parse_args([]))

    for kind in (Switches(), Faults()):
        for name in type(kind).__dataclass_fields__:
            assert found.get(name) == getattr(kind, name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--port", "x"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--stall-at", "101"],
        ["--post-late-s", "-1"],
        ["--idle", "perhaps"],
        ["--nonsense", "x"],
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_an_empty_home_does_not_become_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """`--home "$UNSET"` in a script."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--home", ""])

    assert "--home: '' names no folder" in capsys.readouterr().err


def test_help_names_every_switch_and_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    text = capsys.readouterr().out
    names = [*Switches.__dataclass_fields__, *Faults.__dataclass_fields__]
    assert all(f"--{name.replace('_', '-')}" in text for name in names if name != "rate_bytes_per_s")


def test_it_ends_when_its_server_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pieces_nb.emulator.cli._WAIT_S", 0.01)
    monkeypatch.setattr(Emulator, "running", False)
    monkeypatch.setattr(Emulator, "url", "http://127.0.0.1:1")

    assert main([]) == 1
    assert "has stopped by itself" in capsys.readouterr().err
