"""The files in which Pieces OS names its port."""

from __future__ import annotations

from pathlib import Path

import pytest

from pieces_nb.wire import discovery


@pytest.mark.parametrize(
    ("content", "ports"),
    [
        ("39301", [39301]),
        (" 39301 \n", [39301]),
        ("", []),
        ("null", []),
        ("0", []),
        ("70000", []),
        ("-5", []),
        ("39301\n39302", []),
        ("9" * 5000, []),
        ("\x00\xff", []),
    ],
)
def test_a_file_names_a_port_or_nothing(tmp_path: Path, content: str, ports: list[int]) -> None:
    file = tmp_path / ".port.txt"
    file.write_text(content, "latin-1")
    assert discovery.ports_in_files([file]) == ports


def test_files_that_cannot_be_read_name_nothing(tmp_path: Path) -> None:
    assert discovery.ports_in_files([tmp_path / "missing", tmp_path]) == []


def test_the_files_are_where_pieces_os_writes_them() -> None:
    files = discovery.port_files()
    assert files
    assert all(str(file).endswith(str(Path("com.pieces.os/production/Config/.port.txt"))) for file in files)
