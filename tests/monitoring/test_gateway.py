"""The gateway is looked at as a client sees it: a real TLS handshake, whoever signed the certificate."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from churn.errors import SettingError
from churn.metrics import WatchMetrics
from monitoring.gateway import LOOK_SECONDS, GatewayProbe
from tests.gateway import self_signed, tls_server

END = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[socket.socket]:
    with tls_server(self_signed(tmp_path, END)) as listening:
        yield listening


def test_the_end_of_the_shown_certificate_is_told_and_an_absent_gateway_too(gateway: socket.socket) -> None:
    address = f"127.0.0.1:{gateway.getsockname()[1]}"
    registry, seconds = CollectorRegistry(), [0.0]
    probe = GatewayProbe(address, WatchMetrics(registry), lambda: seconds[0])

    def told(name: str) -> float | None:
        return registry.get_sample_value(f"churnwatch_{name}", {"address": address})

    before = told("gateway_up")
    probe.look()
    there = told("gateway_up"), told("certificate_end_timestamp_seconds")
    gateway.shutdown(socket.SHUT_RDWR)
    gateway.close()
    probe.look()
    too_soon = told("gateway_up")
    seconds[0] += LOOK_SECONDS
    probe.look()

    assert before is None
    assert there == (1, END.timestamp())
    assert too_soon == 1
    assert (told("gateway_up"), told("certificate_end_timestamp_seconds")) == (0, END.timestamp())


def test_a_port_that_speaks_no_tls_counts_as_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        address = f"127.0.0.1:{plain.getsockname()[1]}"
        threading.Thread(target=lambda: plain.accept()[0].close(), daemon=True).start()
        registry = CollectorRegistry()
        GatewayProbe(address, WatchMetrics(registry)).look()

    assert registry.get_sample_value("churnwatch_gateway_up", {"address": address}) == 0


@pytest.mark.parametrize("address", ["gateway", ":8443", "gateway:https"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(SettingError, match=f"WATCH_GATEWAY={address}: expected HOST:PORT"):
        GatewayProbe(address, WatchMetrics(CollectorRegistry()))
