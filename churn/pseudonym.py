"""Customers' ids -> pseudonyms, at every door where an id comes in, when the contract asks for it.

A plain hash would not do: ids are few and easy to list (nine digits, say), so whoever holds the log could hash them
all in minutes and read it. A keyed one (HMAC-SHA256) tells nothing to those without the key. It is the same for the
same id, so repeats, labels and the online view still find each other, in every room that has the same key. Another
contract gives the same id another pseudonym: logs of two use cases cannot be joined by it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from churn.contract import Contract
from churn.errors import PseudonymKeyError
from churn.settings import PseudonymSettings

LEAST_KEY_CHARACTERS = 32
PSEUDONYM_BYTES = 16
"""128 bits: among a billion customers, two share a pseudonym with a chance of one in 10^20."""

KeySource = Callable[[], bytes]
"""Gives the secret; asked only when a contract wants pseudonyms. Raises PseudonymKeyError."""


def pseudonyms(contract: Contract, key: KeySource | None) -> Callable[[str], str]:
    """Id -> pseudonym (32 hex digits), or the id itself where the contract asks for none. Deterministic.

    The key is read at once. Without one (tools that see no ids), the returned function raises PseudonymKeyError.
    """
    if not contract.pseudonymise:
        return _unchanged
    if key is None:
        return partial(_refuse, contract.name)
    own_key = hmac.digest(key(), f"churnwatch/customer_id/{contract.name}".encode(), "sha256")
    return _keyed(own_key)


def key_source(settings: PseudonymSettings) -> KeySource:
    """The secret that these settings lead to, read when asked for."""
    return partial(read_key, settings.pseudonym_key, settings.pseudonym_key_file)


def read_key(value: str, file: Path) -> bytes:
    """`value` if given, else what `file` holds; it is made, readable by this user only, when absent.

    Raises PseudonymKeyError, which never shows the key.
    """
    if value:
        return _checked(value, "PSEUDONYM_KEY")
    try:
        if not file.exists():
            _make(file)
        return _checked(file.read_text(encoding="ascii"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise PseudonymKeyError(
            f"{file}: the key of the pseudonyms cannot be read or made ({reason}); let this user read it, or set "
            "PSEUDONYM_KEY to the one key of all rooms"
        ) from error


def _keyed(key: bytes) -> Callable[[str], str]:
    """HMAC-SHA256 by RFC 2104 with both pads hashed beforehand: a third of the time of `hmac.digest` an id."""
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in key.ljust(64, b"\0"))) for pad in (0x36, 0x5C))
    copy_inner, copy_outer = inner.copy, outer.copy

    def pseudonym(customer_id: str) -> str:
        first, second = copy_inner(), copy_outer()
        first.update(customer_id.encode("utf-8", "surrogatepass"))
        second.update(first.digest())
        return second.digest()[:PSEUDONYM_BYTES].hex()

    return pseudonym


def _unchanged(customer_id: str) -> str:
    return customer_id


def _refuse(contract: str, customer_id: str) -> str:
    raise PseudonymKeyError(f"contract {contract} asks for pseudonyms of customers, and no key for them was given")


def _checked(text: str, source: str) -> bytes:
    key = text.strip()
    if len(key) < LEAST_KEY_CHARACTERS:
        raise PseudonymKeyError(
            f"{source}: {len(key)} characters are too few for a secret; expected {LEAST_KEY_CHARACTERS} or more, "
            "such as `openssl rand -hex 32` writes"
        )
    return key.encode()


def _make(file: Path) -> None:
    """Whole or not at all, and the first of several rooms that start together wins: a link never replaces."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.name)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as written:
            written.write(secrets.token_hex(32) + "\n")
            written.flush()
            os.fsync(written.fileno())
        try:
            os.link(temporary, file)
        except FileExistsError:
            return
    finally:
        os.unlink(temporary)
