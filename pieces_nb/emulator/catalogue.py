"""The models an emulator starts with: the built-in ones, or a caller's. Fixed ids and dates; no state, no files.

A caller's catalogue is a list of dicts in the wire's Model shape, of which only `name` is needed. What is missing is
filled in (`id` from the position and name, `version`, `created`, `cloud`, `type`, `usage`); what is given is served as
it is, nonsense too. Three keys are read rather than served: `size` (bytes of the file, default 65,536), `downloaded`
and `loaded` (True: the model starts so). `bytes` and `ram` are the true figures unless given.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pieces_nb.emulator.content import Content

SCHEMA = {"migration": 0, "semantic": "MAJOR_0_MINOR_0_PATCH_1"}
CREATED = {"schema": SCHEMA, "value": "2025-01-01T00:00:00.000Z", "readable": "January 1, 2025"}
SMALL_BYTES = 65_536
CUSTOM_BYTES = 2_000_000

_NAMESPACE = uuid.UUID("6d0f4f5e-7a0b-5c1d-9b7e-5f1f3a2c9e10")
_Row = tuple[str, str, str, int, float | None, str, str, int]


@dataclass(frozen=True, slots=True)
class Seed:
    """A model at the start: its fields as on the wire, its file's content, and its first state."""

    wire: dict[str, Any]
    content: Content
    sha256: str | None = None
    downloaded: bool = False
    loaded: bool = False


# name, unique, id, bytes of the file, billions of parameters, provider, foundation, tokens. 16 MB stand for a real GB.
_LOCAL: tuple[_Row, ...] = (
    ("Llama 3.2 1B", "llama3.2:1b-instruct-q4_K_S", "01", 12_409_856, 1.24, "META", "LLAMA_LATEST", 8192),
    ("Phi-2", "phi:2.7b-chat-v2-q4_K_S", "02", 25_952_256, 2.78, "MICROSOFT", "PHI_2", 2048),
    (
        "Phi-3 Mini 128K",
        "phi3:3.8b-mini-128k-instruct-q4_K_S",
        "03",
        35_012_608,
        3.82,
        "MICROSOFT",
        "PHI_3_MINI",
        131072,
    ),
    ("Mistral 7B", "mistral:7b-instruct-q4_K_S", "04", 66_240_512, 7.25, "HUGGING_FACE", "MISTRAL_7B", 32768),
    ("Llama 3 8B", "llama3.1:8b-instruct-q4_K_S", "05", 75_088_896, 8.03, "META", "LLAMA_3_8B", 8192),
    ("Gemma 2 2B", "gemma2:2b-instruct-q4_K_S", "06", 26_221_568, 2.61, "GOOGLE", "GEMMA_LATEST", 8192),
    ("Granite Code 8B", "granite-code:8b-instruct-q4_K_S", "07", 73_605_120, 8.05, "IBM", "GRANITE_8B", 4096),
    (
        "Qwen 2.5 Coder 7B",
        "qwen2.5-coder:7b-instruct-q4_K_S",
        "08",
        71_335_936,
        7.62,
        "HUGGING_FACE",
        "QWEN_CODER_LATEST",
        32768,
    ),
)
_CLOUD: tuple[_Row, ...] = (
    ("GPT-4o Chat Model", "gpt-4o", "11", 0, None, "OPENAI", "GPT_4", 128000),
    ("GPT-4o Mini Chat Model", "gpt-4o-mini", "12", 0, None, "OPENAI", "GPT_4", 128000),
    ("Claude Sonnet 4 Chat Model", "claude-sonnet-4-20250514", "13", 0, None, "ANTHROPIC", "CLAUDE_4", 200000),
    ("Gemini 2.0 Flash Chat Model", "gemini-2.0-flash", "14", 0, None, "GOOGLE", "GEMINI_2", 1048576),
)
_CUSTOM: _Row = ("My Fine-Tune", "my-fine-tune:1b-q4_K_S", "21", CUSTOM_BYTES, 1.24, "META", "LLAMA_LATEST", 8192)


def readable(size_bytes: int) -> str:
    """Return a size as the wire words it, in decimal units: "33.6 KB"."""
    value = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def byte_descriptor(size_bytes: int) -> dict[str, Any]:
    """Return the wire's ByteDescriptor of a size."""
    return {"schema": SCHEMA, "value": size_bytes, "readable": readable(size_bytes)}


def complete(wire: Mapping[str, Any], *, model_id: str, size_bytes: int) -> dict[str, Any]:
    """Return the fields of a model with the required ones filled in, and true sizes where none are given."""
    defaults: dict[str, Any] = {
        "id": model_id,
        "schema": SCHEMA,
        "version": "1",
        "created": CREATED,
        "name": model_id,
        "cloud": False,
        "custom": False,
        "type": "BALANCED",
        "usage": "CODE_CONVERSATION",
    }
    if not wire.get("cloud"):
        defaults |= {"bytes": byte_descriptor(size_bytes), "ram": byte_descriptor(size_bytes)}
    return copy.deepcopy(defaults | dict(wire) | {"id": model_id})


def _capabilities(*, images: bool) -> dict[str, Any]:
    words = {"assets": True, "codebases": True, "documents": True, "temporal": True, "videos": False, "websites": True}
    return {"schema": SCHEMA, **words, "images": images}


def _built_in(row: _Row, *, cloud: bool = False, custom: bool = False) -> Seed:
    name, unique, number, size_bytes, parameters, provider, foundation, tokens = row
    model_id = f"e3010a70-0000-4000-8000-0000000000{number}"
    wire: dict[str, Any] = {
        "name": f"{name} (emulated)",
        "unique": unique,
        "description": "Served by the emulator: pseudo-random bytes, no model.",
        "cloud": cloud,
        "cpu": False,
        "custom": custom,
        "parameters": parameters,
        "provider": provider,
        "foundation": foundation,
        "maxTokens": {"schema": SCHEMA, "total": tokens, "input": tokens * 3 // 4, "output": tokens // 4},
        "capabilities": _capabilities(images=cloud),
    }
    if not cloud:
        wire["quantization"] = "q4_K_S"
    return Seed(
        complete(wire, model_id=model_id, size_bytes=size_bytes), Content(model_id, size_bytes), CHECKSUMS.get(model_id)
    )


def built_in() -> list[Seed]:
    """Return the built-in models: eight local ones, four in the cloud, one custom."""
    local = [_built_in(row) for row in _LOCAL]
    return [*local, *(_built_in(row, cloud=True) for row in _CLOUD), _built_in(_CUSTOM, custom=True)]


def from_dicts(models: Sequence[Mapping[str, Any]]) -> list[Seed]:
    """Return a caller's catalogue, of the shape above. Raises ValueError on one that cannot be served."""
    seeds = [_from_dict(position, model) for position, model in enumerate(models)]
    if len({seed.wire["id"] for seed in seeds}) != len(seeds):
        raise ValueError("Two models of the emulator's catalogue have the same id.")
    return seeds


def _from_dict(position: int, model: Mapping[str, Any]) -> Seed:
    wire = dict(model)
    size_bytes = wire.pop("size", SMALL_BYTES)
    loaded = bool(wire.pop("loaded", False))
    downloaded = bool(wire.pop("downloaded", False)) or loaded
    wire.pop("downloading", None)
    model_id = wire.get("id") or str(uuid.uuid5(_NAMESPACE, f"{position} {wire.get('name')!a}"))
    if not isinstance(model_id, str) or not isinstance(size_bytes, int) or size_bytes < 0:
        raise ValueError(f"Model {position} of the emulator's catalogue: id must be text, size a number of bytes.")
    content = Content(model_id, size_bytes)
    complete_wire = complete(wire, model_id=model_id, size_bytes=size_bytes)
    if wire.get("cloud"):
        downloaded = loaded = False
    return Seed(complete_wire, content, downloaded=downloaded, loaded=loaded)


# sha-256 of each built-in file, which a download is checked against.
CHECKSUMS: dict[str, str] = {
    "e3010a70-0000-4000-8000-000000000001": "a5b175c2ed546af21b997f3b14b7d51498b13d8135b97f366e70256104eb9fd9",
    "e3010a70-0000-4000-8000-000000000002": "3d2ae18ca700dfcd545d6324318c5e93f48c0a9392804ad38fa61f1d534abcc1",
    "e3010a70-0000-4000-8000-000000000003": "553e80d2a0ce1c45b6d1feb36248d24007cc763927ccf5b1b1e582c327f6cb25",
    "e3010a70-0000-4000-8000-000000000004": "d42cb6346f9981f7aaacbdc08d313b8d79452fe02bdfb778984610cded9ea82c",
    "e3010a70-0000-4000-8000-000000000005": "13f737dc5c08f6e704a0cfa8ba91288515206bf8a08b8c4839aa95623593b21b",
    "e3010a70-0000-4000-8000-000000000006": "5be207e9ebd6e930bb4239764d34b489b9d74833df2fe26a71c5b3bfde01c77a",
    "e3010a70-0000-4000-8000-000000000007": "a9d844ac7e341e941e3bb52453b3153451c42d86c73175254bbd24030def3f5a",
    "e3010a70-0000-4000-8000-000000000008": "8d4b86ea476f562d6de6967b285452e0cc986b2ec0bd1f7551997bb8ea549ab9",
    "e3010a70-0000-4000-8000-000000000021": "26aaddb9e65ec5455941a8c7231500009ed0579ba5faf8458db05904a79faeea",
}
