"""Who is let in: by a token, and for names of this machine only."""

import socket
from http import HTTPStatus

import pytest

from host.ops.access import Access
from host.ops.http import Request

TOKEN = "0123456789abcdef"


def told(path="/metrics", token="", hosts=(), **headers):
    access = Access(token, hosts, {"/"}, {"/readyz"})
    refusal = access.refusal(Request("GET", path, {}, headers))
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9180",
        "127.0.0.1:9180",
        "[::1]:9180",
        "10.1.2.3",
        "metrics.example.",
        socket.gethostname(),
        "",
    ],
)
def test_this_machine_has_these_names(host):
    assert told(hosts=["Metrics.Example"], host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", ":80", " ,"],
)
def test_others_it_has_not(host):
    assert told(host=host) == HTTPStatus.MISDIRECTED_REQUEST
    assert told("/", host=host) == HTTPStatus.MISDIRECTED_REQUEST
    assert told("/readyz", host=host) is None


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"]
)
def test_a_token_is_asked_for(given):
    assert told(token=TOKEN, authorization=given) == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_the_right_one_is_let_in(given):
    assert told(token=TOKEN, authorization=given) is None


def test_what_shows_nothing_of_the_host_takes_none():
    assert told("/", token=TOKEN) is None
    assert told("/readyz", token=TOKEN) is None
