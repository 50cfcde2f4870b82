"""Which certificates are trusted, by REST calls and WebSockets alike: those that requests would trust."""

from __future__ import annotations

import os
import ssl

from pieces_nb.errors import PiecesError

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def tls_context() -> ssl.SSLContext:
    """Return what https calls verify a server with; `PiecesError` if the certificates cannot be read.

    A file or folder that one of `VARIABLES` names, in this order, else the certificates that come with requests.
    """
    import requests.utils  # a long import that plain http never needs

    variable = next((name for name in VARIABLES if os.environ.get(name)), "")
    bundle = os.environ[variable] if variable else requests.utils.DEFAULT_CA_BUNDLE_PATH
    try:
        if os.path.isdir(bundle):  # noqa: PTH112 - ssl takes text
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as exc:
        named = f", which {variable} names," if variable else ""
        reason = (exc.strerror or str(exc)).lower()
        raise PiecesError(f"The certificates in {bundle}{named} cannot be read: {reason}.") from exc
