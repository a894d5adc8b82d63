"""Stand between a client and a server, and break the connection at a chosen place."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self


class Proxy:
    """Forward connections to a port of 127.0.0.1; as a context manager.

    Args:
        upstream: the server's port.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._break: tuple[int, str, Callable[[], None]] | None = None
        self._threads: list[threading.Thread] = []
        self._links: list[_Link] = []

    def break_once(self, after: int, at: Literal["request", "reply"], then: Callable[[], None] = lambda: None) -> None:
        """Break the first connection on which the client has sent `after` bytes.

        Args:
            after: bytes from the client; what it sends beyond them does not reach the server.
            at: `request` breaks at once; `reply` lets all bytes through, and breaks when the server answers, without the answer.
            then: is called when the server's side is closed and before the client's is.
        """
        self._break = (after, at, then)

    def cut(self) -> None:
        """Break all connections that there are now."""
        for link in list(self._links):
            link.shut()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            link.shut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket()
                if server.connect_ex(("127.0.0.1", self._upstream)):
                    client.close()
                    server.close()
                else:
                    link = _Link(client, server)
                    self._links.append(link)
                    self._start(self._requests, link)
                    self._start(self._replies, link)

    def _requests(self, link: "_Link") -> None:
        with suppress(OSError):
            while data := link.client.recv(1 << 16):
                room = self._room("request", link.sent)
                link.sent += len(data)  # before the server can answer
                link.server.sendall(data[:room])
                if room is not None and room < len(data):
                    self._cut(link)
                    return
        link.end()

    def _replies(self, link: "_Link") -> None:
        with suppress(OSError):
            while data := link.server.recv(1 << 16):
                room = self._room("reply", link.sent)
                if room == 0:
                    self._cut(link)
                    return
                link.client.sendall(data)
        link.end()

    def _room(self, at: str, sent: int) -> int | None:
        """Return how many bytes may still pass before the break; None if there is none to come here."""
        with self._lock:
            return max(self._break[0] - sent, 0) if self._break and self._break[1] == at else None

    def _cut(self, link: "_Link") -> None:
        with self._lock:
            armed, self._break = self._break, None
        link.is_cut = True
        with suppress(OSError):
            link.server.shutdown(socket.SHUT_RDWR)
        if armed:
            armed[2]()
        link.is_cut = False
        link.end()


class _Link:
    """A client's connection and the one to the server that belongs to it. The second of its two threads to end closes them."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.sent = 0
        self.is_cut = False  # the thread that does it ends the link
        self._open = 2
        self._lock = threading.Lock()

    def shut(self) -> None:
        for side in (self.client, self.server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        if not self.is_cut:
            self.shut()
        with self._lock:
            self._open -= 1
            if not self._open:
                self.client.close()
                self.server.close()
