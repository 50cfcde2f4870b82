"""`pieces-nb trace`: what is in the file, what is not, and what the emulator makes of it."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pieces_nb import ModelClient, trace
from pieces_nb.download.state import Timing
from pieces_nb.emulator import Emulator, EmulatorError, Faults, Switches, replay
from pieces_nb.model.models import Model
from pieces_nb.wire.http import Answer
from tests.views.terminal.conftest import Call, Outcome

WAIT_S = 20.0
QUICK = Timing(start_grace_s=2.0, settle_s=0.3, poll_soon_s=0.05, poll_closed_s=0.1, poll_s=0.2, backoff_first_s=0.05)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


# Recording -----------------------------------------------------------------------------------------------------------


def test_a_trace_begins_with_its_model_and_ends_with_its_status(emulator: Emulator, call: Call, file: Path) -> None:
    emulator.rate_bytes_per_s = 60_000

    seen = call("trace", str(file), "phi-2")

    lines = lines_of(file)
    assert seen.code == 0
    assert "Look it through" in seen.out
    assert (lines[0]["kind"], lines[0]["format"]) == ("trace", trace.FORMAT)
    assert (lines[-1]["kind"], lines[-1]["status"]) == ("end", "COMPLETED")
    assert {line["kind"] for line in lines} >= {"request", "answer", "snapshot", "socket", "frame"}
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert [line["model"]["downloaded"] for line in lines if "model" in line and line["kind"] == "snapshot"][-1] is True


@pytest.mark.usefixtures("emulator")
def test_a_trace_holds_no_other_model(call: Call, file: Path) -> None:
    call("trace", str(file), "phi-2")

    assert "Mistral" not in file.read_text()
    assert all(line["path"].startswith("/model/{model}") for line in lines_of(file) if line["kind"] == "request")


def test_home_folder_and_user_name_are_left_out(
    call: Call, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "jane.doe"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "janedoe")
    model = {"name": "Phi-2", "description": f"Kept by janedoe in {home}/models", "path": r"C:\Users\Jane Doe\x.bin"}
    with Emulator(models=[model], rate_bytes_per_s=None) as server:
        server.faults = Faults(download_error=f"No space in {home}/models, JaneDoe")
        call("trace", str(file), "phi-2", "--url", server.url)

    text = file.read_text()
    assert "No space in ~/models, USER" in text
    assert "Kept by USER in ~/models" in text
    assert not any(word in text.lower() for word in ("janedoe", "jane.doe", "jane doe"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/ada/x and /Users/ada/y", "~/x and ~/y"),
        (r"C:\\Users\\Ada L\\AppData", r"~\\AppData"),
        ("file:///home/ada", "file://~"),
        ("adam is not ada, ADA is", "adam is not USER, USER is"),
        ("/home/adam", "~"),
        ("no name here", "no name here"),
        ("on lab-7.example.org, lab-7: label-7", "on HOST, HOST: label-7"),
    ],
)
def test_what_is_private_is_replaced(text: str, left: str) -> None:
    assert trace.redactor(Path("/home/ada"), ["ada"], host="lab-7.example.org")(text) == left


def test_the_full_name_of_the_account_and_its_words_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pwd = pytest.importorskip("pwd")
    monkeypatch.setenv("LOGNAME", "jds")
    account = SimpleNamespace(pw_gecos="Jane Doe-Smith,Room 5,,")
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account)
    redact = trace.redactor(Path("/home/jds"), host="")
    assert redact("by jane doe-smith (Doe-Smith), not by Janet") == "by USER (USER), not by Janet"


def test_a_home_that_is_the_root_takes_no_slash_away() -> None:
    assert trace.redactor(Path("/"), [""], host="")("http://127.0.0.1/model") == "http://127.0.0.1/model"


def test_a_server_elsewhere_is_not_named() -> None:
    assert (
        trace.redactor(Path("/"), [], url="http://gpu.example.org:39300")("gpu.example.org:39300 says") == "SERVER says"
    )


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(st.text() | st.none() | st.floats(allow_nan=False), lambda inner: st.dictionaries(st.text(), inner))
)
def test_redacting_keeps_the_shape(value: Any) -> None:
    assert trace.redacted(value, str) == value


def test_a_trace_stays_below_its_bound() -> None:
    recorder, written = trace.Recorder(), io.BytesIO()
    model = Model({"id": "m"})
    recorder.begin(written, model, server="1", redact=str)
    frame = json.dumps({"status": "IN-PROGRESS", "x": "y" * 10_000}).encode()
    for number in range(1_500):
        recorder.frame(1, frame)
        recorder.answer(number, Answer("", 200, frame + b" " * number), is_snapshot=True)
    recorder.end("COMPLETED", "")

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert len(written.getvalue()) <= trace.MOST_BYTES
    assert lines[-1]["frames"] > 0
    assert sum(line["kind"] == "snapshot" and "same" not in line for line in lines) == 1


class Disk(io.BytesIO):
    """A disk with so much room."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, raw: Any, /) -> int:
        fits = bytes(raw)[: self._room]
        self._room -= len(fits)
        if not fits:
            raise OSError(28, "No space left on device")
        return super().write(fits)


@pytest.mark.parametrize("room", [*range(150, 400, 50), 331])
def test_a_full_disk_ends_the_trace_with_a_whole_line_and_can_be_replayed(file: Path, room: int) -> None:
    recorder, disk = trace.Recorder(), Disk(room)
    recorder.begin(disk, Model({"id": "m"}), server="1", redact=str)
    snapshot = Answer("", 200, b'{"id": "m", "name": "M"}')
    recorder.answer(1, snapshot, is_snapshot=True)
    before = disk.tell()
    while recorder.failure is None:
        recorder.frame(1, b'{"status": "IN-PROGRESS"}')

    assert not recorder.watches("/model/m")
    assert disk.getvalue().endswith(b"\n") or room <= before
    file.write_bytes(disk.getvalue())
    if b'"snapshot"' in disk.getvalue():
        assert replay.read(file).model_id == "m"


def replayed(file: Path, body: bytes, *frames: bytes) -> replay.Recording:
    """What a replay reads of a trace with this snapshot and these frames."""
    recorder, written = trace.Recorder(), io.BytesIO()
    recorder.begin(written, Model({"id": "m"}), server="1", redact=str)
    recorder.answer(1, Answer("", 200, body), is_snapshot=True)
    for frame in frames:
        recorder.frame(2, frame)
    recorder.end("FAILED", "")
    file.write_bytes(written.getvalue())
    return replay.read(file)


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "1e999", "[" * 40 + "]" * 40, '{"a":' * 27 + "1" + "}" * 27])
def test_a_trace_of_numbers_and_depths_that_are_no_json_can_be_replayed(file: Path, odd: str) -> None:
    body = f'{{"id": "m", "name": "M", "score": {odd}}}'.encode()
    recording = replayed(file, body, f'{{"status": "IN-PROGRESS", "percentage": {odd}}}'.encode())
    assert recording.snapshots[0].model["name"] == "M"
    assert recording.frames[0].text.replace(" ", "") == f'{{"status":"IN-PROGRESS","percentage":{odd}}}'


@pytest.mark.usefixtures("emulator")
def test_wrong_files_and_models(call: Call, file: Path, tmp_path: Path) -> None:
    def check(seen: Outcome, code: int, words: str) -> None:
        assert (seen.code, seen.out) == (code, "")
        assert words in seen.err

    check(call("trace", str(tmp_path / "no" / "such"), "phi-2"), 2, "cannot be written: No such file")
    check(call("trace", str(tmp_path), "phi-2"), 2, "exists already")
    check(call("trace", str(file), "gpt-4o"), 1, "runs in the cloud")
    check(call("trace", str(file), "llama 3"), 1, "is downloaded already")
    check(call("trace", str(file), "nothing like it"), 1, "There is no model")
    assert not file.exists()


def test_a_failed_download_is_a_trace_too(emulator: Emulator, call: Call, file: Path) -> None:
    emulator.rate_bytes_per_s = 60_000
    emulator.faults = Faults(fail_at=50, fail_text="gone")

    seen = call("trace", str(file), "phi-2", "--json")

    assert seen.code == 1
    assert (seen.json["status"], seen.json["file"]) == ("FAILED", str(file))
    assert lines_of(file)[-1]["status"] == "FAILED"


def test_a_trace_of_an_emulator_of_its_own(call: Call, file: Path) -> None:
    assert call("trace", str(file), "my-fine-tune:1b-q4_K_S", "--url", "emulator").code == 0


# Replaying -----------------------------------------------------------------------------------------------------------


def recorded(call: Call, file: Path, url: str) -> replay.Recording:
    call("trace", str(file), "phi-2", "--url", url, "--timeout", "10")
    return replay.read(file)


def statuses_of(url: str) -> tuple[list[float], Any]:
    """Follow a replayed download; return the percentages that were seen and the download."""
    seen: list[float] = []
    with ModelClient(url, timing=QUICK) as client:
        download = client.download("phi-2")
        ended = threading.Event()

        def look(download: Any) -> None:
            seen.append(download.percentage or 0.0)
            if download.done:
                ended.set()

        download.subscribe(look)
        assert ended.wait(WAIT_S)
    return seen, download


def test_a_replay_goes_as_the_recorded_download(call: Call, file: Path) -> None:
    model = {"name": "Phi-2", "size": 60_000, "description": "as recorded", "somethingNew": [1]}
    with Emulator(models=[model], rate_bytes_per_s=100_000) as server:
        recording = recorded(call, file, server.url)

    with Emulator(recording=recording) as server:
        seen, download = statuses_of(server.url)
        snapshot = call("snapshot", "phi-2", "--url", server.url, "--json").json[0]
        loaded = call("load", "phi-2", "--url", server.url)

    assert str(download.status) == "COMPLETED"
    assert any(0 < percentage < 100 for percentage in seen)
    assert download.duration_s == pytest.approx(recording.duration_s, abs=0.6)
    assert (snapshot["downloaded"], snapshot["somethingNew"], snapshot["id"]) == (True, [1], recording.model_id)
    assert loaded.code == 0


def test_a_replay_can_be_faster(call: Call, file: Path) -> None:
    with Emulator(models=[{"name": "Phi-2", "size": 100_000}], rate_bytes_per_s=100_000) as server:
        recording = recorded(call, file, server.url)

    with Emulator(recording=recording.faster(20)) as server:
        _, download = statuses_of(server.url)

    assert str(download.status) == "COMPLETED"
    assert download.duration_s < recording.duration_s


@pytest.mark.parametrize(
    ("faults", "switches", "status", "words"),
    [
        (Faults(fail_at=50, fail_text="gone"), Switches(failed_frame_says_why=True), "FAILED", ""),
        (Faults(download_error="The engine is missing."), Switches(), "FAILED", "The engine is missing."),
        (Faults(drop_at=50), Switches(), "COMPLETED", ""),
        (Faults(socket_refused="404"), Switches(), "COMPLETED", ""),
        (Faults(), Switches(close_after_terminal=True, percentages="none"), "COMPLETED", ""),
        (Faults(), Switches(post_late_s=0.2), "COMPLETED", ""),
    ],
)
def test_a_replay_has_the_troubles_of_the_recorded_server(
    call: Call, file: Path, faults: Faults, switches: Switches, status: str, words: str
) -> None:
    with Emulator(models=[{"name": "Phi-2", "size": 40_000}], rate_bytes_per_s=200_000) as server:
        server.faults, server.switches = faults, switches
        recording = recorded(call, file, server.url)

    with Emulator(recording=recording) as server:
        _, download = statuses_of(server.url)

    assert str(download.status) == status
    assert words in str(download.error or "")


def test_a_replay_can_be_canceled_and_started_again(call: Call, file: Path) -> None:
    with Emulator(models=[{"name": "Phi-2", "size": 60_000}], rate_bytes_per_s=100_000) as server:
        recording = recorded(call, file, server.url)

    with Emulator(recording=recording) as server:
        started = call("download", "phi-2", "--no-wait", "--url", server.url)
        canceled = call("cancel", "phi-2", "--url", server.url)
        again = call("download", "phi-2", "--url", server.url)

    assert (started.code, canceled.code, again.code) == (0, 0, 0)


def write(file: Path, *lines: object) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")


HEAD = {"t": 0, "kind": "trace", "format": 1, "model": "m"}
SNAPSHOT = {"t": 0, "kind": "snapshot", "n": 1, "model": {"id": "m", "name": "M"}}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["not json"], "line 1: it is no JSON"),
        ([HEAD, "[1]"], "line 2: it is no object with a kind"),
        ([SNAPSHOT], "line 1: it is not the beginning of a recording"),
        ([HEAD | {"format": 2}], "line 1: it is not the beginning"),
        ([HEAD | {"model": ""}], "line 1: it names no model"),
        ([HEAD], "holds no snapshot"),
        ([], "holds no snapshot"),
        ([HEAD, SNAPSHOT | {"t": "soon"}], "line 2: its time t is no number"),
        ([HEAD, SNAPSHOT | {"t": -1}], "line 2: its time t"),
        ([HEAD, '{"t": NaN, "kind": "x"}'], "line 2: it is no JSON"),
        ([HEAD, '{"t": 1e999, "kind": "x"}'], "line 2: its time t"),
        ([HEAD, SNAPSHOT | {"t": 5}, SNAPSHOT], "line 3: its time is before"),
        ([HEAD, SNAPSHOT | {"model": [1]}], "line 2: its model is no object"),
        ([HEAD, SNAPSHOT, {"t": 1, "kind": "frame", "n": 1}], "line 3: its frame is empty"),
        ([HEAD, SNAPSHOT, {"t": 1, "kind": "socket", "event": "open"}], "line 3: it has no number n"),
        ([HEAD, "[" * 100_000], "line 2: it is no JSON"),
        ([HEAD, {"t": 1, "kind": "x", "deep": json.loads("[" * 50 + "]" * 50)}], "line 2: it is nested too deep"),
        ([HEAD, {"t": 1, "kind": "x", "long": "x" * 2**21}], "line 2: it is longer than 1 MiB"),
    ],
)
def test_a_malformed_recording_is_one_line_that_names_the_line(
    file: Path, lines: list[object], words: str, call: Call
) -> None:
    write(file, *lines)

    with pytest.raises(EmulatorError) as caught:
        replay.read(file)
    assert words in str(caught.value)

    seen = call("emulator", "--replay", str(file))
    assert seen.code == 1
    assert words in seen.err
    assert len(seen.err.splitlines()) == 1


def test_a_recording_that_is_not_there(call: Call, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        seen = call("emulator", "--replay", str(path))
        assert seen.code == 1
        assert "cannot be read" in seen.err


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reading_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "random.jsonl"
    file.write_bytes(raw)

    with pytest.raises(EmulatorError):
        replay.read(file)


def test_unknown_lines_are_passed_over(file: Path) -> None:
    write(file, HEAD, SNAPSHOT, {"t": 1, "kind": "of a later format"})

    assert replay.read(file).model_id == "m"
