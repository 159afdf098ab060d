"""A TCP proxy on loopback that can be cut: what an outage of a server looks like to its clients."""

from __future__ import annotations

import socket
import threading
import time


class Proxy:
    """Between a client and a server on loopback: can cut every connection, refuse new ones, or pass on slowly.

    `cut_at` lets it cut by itself as soon as a client says some words, before or after the server has heard them.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.is_up = True
        self.delay_seconds = 0.0
        self.was_cut = threading.Event()
        self._words, self._heard = b"", False
        self._unanswered: socket.socket | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.is_up = False
        for pair in self._pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:  # closed already
                    continue
        self._pairs.clear()

    def cut_at(self, words: bytes, heard: bool = False) -> None:
        """Cut once, when a client sends a block with these words. `heard`: the server gets them, its answer is lost."""
        self._words, self._heard = words, heard
        self.was_cut.clear()

    def mend(self) -> None:
        """Pass everything on again."""
        self._words, self._unanswered, self.is_up = b"", None, True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_up:
                client.close()
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            if not self.is_up:  # cut meanwhile
                self.cut()
            for source, target, asks in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=(source, target, asks), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        try:
            while block := source.recv(65_536):
                time.sleep(self.delay_seconds)
                if asks and self._words and self._words in block:
                    self._words = b""
                    if self._heard:
                        self._unanswered = source
                    else:
                        self._cut_by_itself()
                elif not asks and target is self._unanswered:
                    self._cut_by_itself()
                target.sendall(block)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def _cut_by_itself(self) -> None:
        self._unanswered = None
        self.cut()
        self.was_cut.set()
