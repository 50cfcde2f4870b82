"""The machine whose memory and disk the models take, where that is this one. Asks the system, decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pieces_nb.wire.addresses import host_of, is_loopback


class Machine(NamedTuple):
    """Bytes of memory and disk; all None where the server is on another machine, or the system does not say."""

    total_memory_bytes: int | None = None
    free_memory_bytes: int | None = None
    total_disk_bytes: int | None = None
    free_disk_bytes: int | None = None


def machine_of(url: str) -> Machine:
    """Return the machine of the server at `url`, its disk the volume of the home folder."""
    if not is_loopback(host_of(url)):
        return Machine()
    import psutil  # not at the top: most programs never ask

    memory = psutil.virtual_memory()
    try:
        disk = psutil.disk_usage(str(Path.home()))
    except (OSError, RuntimeError):  # no home folder, or none that can be read
        return Machine(int(memory.total), int(memory.available))
    return Machine(int(memory.total), int(memory.available), int(disk.total), int(disk.free))
