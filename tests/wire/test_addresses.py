"""What an address may look like, and what of it is shown."""

from __future__ import annotations

import pytest

from pieces_nb.errors import BadArguments
from pieces_nb.wire.addresses import normalize_url
from pieces_nb.wire.connection import Connection


@pytest.mark.parametrize(
    "address",
    [
        "http://me:geheim@127.0.0.1:39300",
        "me:geheim@127.0.0.1:39300",
        "https://:geheim@localhost",
        "http://me:geheim/x@localhost:39300",
        "http://me:geheim@x@localhost:39300",
        "http://me:geheim@[localhost",
        "me//x:geheim@127.0.0.1",
        "http://geheim@127.0.0.1:99999999",
    ],
)
def test_a_password_in_an_address_is_not_echoed(address: str) -> None:
    with pytest.raises(BadArguments, match="is not an address") as caught:
        Connection(address, named_by="PIECES_OS_URL")
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert "geheim" not in told
    assert "me" not in str(caught.value).replace("name", "")


def test_an_address_that_is_not_one_says_why() -> None:
    with pytest.raises(
        BadArguments, match=r"'http://…@localhost:39300' .* takes no name and password\. One looks like"
    ):
        normalize_url("http://me:geheim@localhost:39300")
    with pytest.raises(BadArguments, match=r"'localhost:seven' is not an address: Port could not be cast"):
        normalize_url("localhost:seven")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (" localhost:39300/ ", "http://127.0.0.1:39300"),
        ("http://[::1]:39300", "http://[::1]:39300"),
        ("https://127.0.0.1", "https://127.0.0.1"),
    ],
)
def test_an_address_as_people_type_it(typed: str, meant: str) -> None:
    assert normalize_url(typed) == meant
