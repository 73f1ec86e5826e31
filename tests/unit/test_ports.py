"""Ports that are held for a server that comes later: nobody else finds them free, and the server gets them."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab import ports
from ccobs_ops.lab.ports import Reserved, answers, free_base


def test_what_one_holds_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LOWEST", 22_650)
    monkeypatch.setattr(ports, "HIGHEST", 22_656)
    with Reserved() as one:
        held: set[int] = set()
        with pytest.raises(OpsError, match="no free ports"):
            for _ in range(7):
                held.add(one.base((0,)))
        assert held
        with pytest.raises(OpsError, match="no free ports"):
            free_base((0,))
    assert 22_650 <= free_base((0,)) < 22_656


def test_the_server_that_it_is_for_binds_it_while_it_is_held() -> None:
    with Reserved() as one:
        port = one.base((0, 1))
        with HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler):
            assert answers(port)
            with socket.socket() as second, pytest.raises(OSError):
                second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                second.bind(("127.0.0.1", port))
