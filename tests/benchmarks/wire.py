"""Models and frames as on the wire, for the server and for those who measure."""

from __future__ import annotations

import json
import uuid
from typing import Any

_SCHEMA = {"migration": 0, "semantic": "MAJOR_0_MINOR_0_PATCH_1"}
_FAMILIES = ("Llama", "Mistral", "Phi", "Gemma", "Granite", "Qwen Coder", "StarCoder")
PLAIN_ID = "7a3c1f10-5d2e-4b8a-9c61-2f0e8d4b6a90"


def model(number: int, *, model_id: str = "") -> dict[str, Any]:
    """Return one model with all that a Pieces OS says of a local one."""
    size = 600_000_000 + 37_000_000 * (number % 97)
    name = f"{_FAMILIES[number % len(_FAMILIES)]} {number}"
    return {
        "schema": _SCHEMA,
        "id": model_id or str(uuid.UUID(int=0x4000_8000 << 32 | number)),
        "version": "1",
        "created": {"schema": _SCHEMA, "value": "2025-01-01T00:00:00.000Z", "readable": "January 1, 2025"},
        "name": name,
        "unique": f"{name.lower().replace(' ', '-')}:instruct-q4_K_S",
        "description": f"{name} is a model for conversations about code, quantized to four bits.",
        "cloud": False,
        "custom": number % 50 == 0,
        "cpu": False,
        "downloaded": number % 3 == 0,
        "downloading": False,
        "loaded": number % 300 == 0,
        "type": "BALANCED",
        "usage": "CODE_CONVERSATION",
        "bytes": {"schema": _SCHEMA, "value": size, "readable": f"{size / 1e9:.1f} GB"},
        "ram": {"schema": _SCHEMA, "value": 2 * size, "readable": f"{2 * size / 1e9:.1f} GB"},
        "quantization": "q4_K_S",
        "foundation": "LLAMA_3_8B",
        "parameters": round(1.1 + number % 13, 2),
        "provider": "META",
        "maxTokens": {"schema": _SCHEMA, "total": 8192, "input": 4096, "output": 4096},
        "capabilities": {"schema": _SCHEMA, "temporal": True, "images": False},
    }


def running(model_id: str, *, downloaded: bool = False, downloading: bool = False, **extra: float) -> dict[str, Any]:
    """Return a model that is being downloaded; `extra` are moments on the clock that all processes share."""
    return model(1, model_id=model_id) | {"downloaded": downloaded, "downloading": downloading, "loaded": False} | extra


def models(count: int) -> bytes:
    """Return the body of `GET /models`."""
    return json.dumps({"iterable": [model(number) for number in range(count)]}).encode()


def frame(status: str, percentage: float) -> bytes:
    """Return one ModelDownloadProgress as a server's WebSocket frame."""
    payload = json.dumps({"status": status, "percentage": round(percentage, 4)}).encode()
    return bytes((0x81, len(payload))) + payload
