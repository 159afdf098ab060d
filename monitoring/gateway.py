"""Looks at the gateway as a client does: whether it answers by TLS, and until when its certificate holds."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

import structlog
from cryptography import x509

from churn.errors import SettingError
from churn.metrics import WatchMetrics

log = structlog.get_logger()

LOOK_SECONDS = 60.0
PATIENCE_SECONDS = 3.0


class GatewayProbe:
    """Connects to `address` (HOST:PORT) once a minute, whoever signed the certificate. Not thread-safe."""

    def __init__(self, address: str, metrics: WatchMetrics, seconds: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingError for an address that is none."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise SettingError("WATCH_GATEWAY", address, "HOST:PORT, such as gateway:8443, or nothing")
        self._address, self._host, self._port = address, host, int(port)
        self._metrics = metrics
        self._seconds = seconds
        self._next_look = 0.0

    def look(self) -> None:
        """Tell whether the gateway answers, and the end of its certificate; the last one known stays told."""
        if self._seconds() < self._next_look:
            return
        self._next_look = self._seconds() + LOOK_SECONDS
        try:
            end = certificate_end(self._host, self._port)
        except (OSError, ValueError) as error:
            self._metrics.gateway_up.labels(self._address).set(0)
            log.warning("gateway_away", address=self._address, reason=str(error))
            return
        self._metrics.gateway_up.labels(self._address).set(1)
        self._metrics.certificate_end.labels(self._address).set(end)


def certificate_end(host: str, port: int) -> float:
    """Seconds since 1970 at which the certificate shown there ends. Raises OSError, or ValueError for an odd one."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # self-signed ones end too
    with (
        socket.create_connection((host, port), timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    if shown is None:
        raise ValueError("it shows no certificate")
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.timestamp()
