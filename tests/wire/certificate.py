"""A certificate for 127.0.0.1 that nobody trusts unless told to, and its key. For tests alone."""

from __future__ import annotations

import ssl
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("certificate.pem")
_KEY = Path(__file__).with_name("certificate_key.pem")


def server_context() -> ssl.SSLContext:
    """Return what a server of tests secures its connections with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, _KEY)
    return context
