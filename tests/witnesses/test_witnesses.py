"""Clients that we did not write: the official wrapper, the official command line, the official TypeScript SDK."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pieces_nb.emulator import Emulator
from tests.emulator.support import Api, Listener
from tests.witnesses.stand import MODELS, NAMES

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(600),  # that counts what is installed first
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces and their like are Linux's"),
]
ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DEADLINE_S = 90
WRAPPER = """
    import json
    from pieces_os_client.wrapper import PiecesClient
    from pieces_os_client.wrapper.version_compatibility import VersionChecker

    client = PiecesClient(connect_websockets=False)
    # It waits a tenth of a second for an answer; on a busy machine it has to ask again, which it can do itself.
    assert client.is_pieces_running(maxium_retries=60)
    fits = VersionChecker("12.0.0", "13.0.0", client.version).version_check().compatible
    print(json.dumps({"port": client.port, "names": client.available_models_names, "fits": fits,
                      "chosen": client.model_name}))
    client.close()
"""


@contextmanager
def on_the_stand(
    namespace: tuple[str, ...], *program: str, env: Mapping[str, str] = {}, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    command = [*namespace, sys.executable, "-m", "tests.witnesses.stand", *program]
    # Unmeasured: it would be their code, slowly.
    environment = {name: value for name, value in (os.environ | env).items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE, env=environment, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def asked(stderr: str) -> list[str]:
    """What the program asked the stand for."""
    found: list[str] = json.loads(stderr.strip().splitlines()[-1])
    return found


def test_the_official_wrapper_finds_connects_and_lists(namespace: tuple[str, ...]) -> None:
    program = (sys.executable, "-c", textwrap.dedent(WRAPPER))
    with on_the_stand(namespace, *program, stdout=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    said = json.loads(out)
    assert said["port"] == "39300"
    assert said["fits"]
    assert said["chosen"] == NAMES[0]
    assert said["names"] == [model["name"] for model in MODELS if model.get("cloud") or model.get("downloaded")]
    assert {"HEAD /.well-known/health", "POST /connect", "GET /models"} <= set(asked(err))


def test_the_official_command_line_lists_the_models(
    namespace: tuple[str, ...], pieces_cli: Path, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    environment = {"HOME": str(tmp_path), "COLUMNS": "100", "LINES": "40", "TERM": "xterm"}
    command = (str(pieces_cli), "--ignore-onboarding", "list", "models")
    with on_the_stand(namespace, *command, stdin=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = read_until(ours, "Phi-2")
        os.write(ours, b"\x03")  # leaves its menu
        _, err = process.communicate(timeout=DEADLINE_S)
    os.close(ours)
    for model in MODELS:
        assert (model["name"] in shown) is bool(model.get("cloud") or model.get("downloaded")), shown
    assert "GET /models" in asked(err)


def read_until(terminal: int, words: str) -> str:
    """What a terminal shows until these words have come."""
    seen = b""
    with suppress(OSError):  # the other end is closed
        while words.encode() not in seen and select.select([terminal], [], [], DEADLINE_S)[0]:
            seen += os.read(terminal, 65536)
    return seen.decode(errors="replace")


def test_the_official_typescript_sdk_makes_every_call_and_decodes_the_frames(typescript_sdk: Path) -> None:
    with Emulator(rate_bytes_per_s=20_000_000) as server:
        model, custom = "e3010a70-0000-4000-8000-000000000001", "e3010a70-0000-4000-8000-000000000021"
        frames = frames_of_a_download(server, "e3010a70-0000-4000-8000-000000000002")
        command = ["node", str(HERE / "witness.js"), str(typescript_sdk), server.url, model, custom, json.dumps(frames)]
        run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE_S)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert len(said["models"]) == 13
    assert (said["download"], said["cancel"]) == (model, model)
    assert (said["downloaded"], said["load"], said["unload"]) == (True, True, False)
    assert said["update"] == "by a witness"
    statuses = [frame["status"] for frame in said["frames"]]
    assert statuses[0] == "INITIALIZED"
    assert statuses[-1] == "COMPLETED"
    assert any(0 < frame.get("percentage", 0) < 100 for frame in said["frames"])
    assert said["engine"]


def frames_of_a_download(server: Emulator, model_id: str) -> list[str]:
    """Every frame of one download, as it came."""
    listener = Listener(server.url, f"/model/{model_id}/download/progress")
    api = Api(server.url)
    try:
        api.post(f"/model/{model_id}/download")
        return [json.dumps(frame) for frame in listener.to_end()]
    finally:
        api.session.close()
        listener.socket.close()
