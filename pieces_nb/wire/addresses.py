"""What an address and a path may look like. Pure; opens nothing, and costs nothing to import."""

from __future__ import annotations

import functools
import logging
import re
from urllib.parse import quote, urlsplit

from pieces_nb.errors import BadArguments, ModelNotFound
from pieces_nb.text import printable

log = logging.getLogger(__name__)

_EXAMPLE = "One looks like http://127.0.0.1:39300."
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|::1)\Z")


def normalize_url(address: str) -> str:
    """Return `http://host:port` of what a person typed; `BadArguments`, without any password, if it is not an address.

    `localhost` becomes 127.0.0.1: some systems resolve it to an address that Pieces OS does not serve.
    """
    text = address.strip().rstrip("/")
    if "//" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        reason = "" if "@" in address else f": {exc}"  # the reason quotes a part of it
        raise BadArguments(f"{_shown(address)!r} is not an address{reason}. {_EXAMPLE}") from None
    if "@" in address:
        raise BadArguments(f"{_shown(address)!r} is not an address: Pieces OS takes no name and password. {_EXAMPLE}")
    extra = parts.path or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or extra or not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
        raise BadArguments(f"{_shown(address)!r} is not an address. {_EXAMPLE}")
    host = "127.0.0.1" if host == "localhost" else host
    if not is_loopback(host) and parts.scheme == "http":
        _warn_of_plain_http(host)
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}" + (f":{port}" if port is not None else "")


def _shown(address: str) -> str:
    """Return what was typed as a message may show it: what stands before an @ may be a password."""
    scheme, at, host = re.match(r"(https?://)?", address.strip()), *address.rpartition("@")[1:]
    return printable(f"{scheme[0] if scheme else ''}…@{host}" if at else address, limit=80)


@functools.cache  # once for each address
def _warn_of_plain_http(host: str) -> None:
    log.warning("The address %s is not this machine, and plain http: others on the way can read along.", host)


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or address, without port) is this machine by its very address."""
    return _LOOPBACK.match(host) is not None


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def quoted_id(model_id: str) -> str:
    """Return an id as one segment of a path. An id can name a model and nothing else, whatever it contains."""
    if model_id in ("", ".", ".."):
        raise ModelNotFound(f"{model_id!r} is not a model id.", model=model_id)
    return quote(model_id, safe="", errors="replace")
