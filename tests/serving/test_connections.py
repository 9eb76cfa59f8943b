"""The socket that sends later what a client does not take at once."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.serving.connections import UNSENT_BYTES, AnswerSocket

#: No more may wait than this, and it is more than the kernel takes.
MUCH = os.urandom(UNSENT_BYTES)


class Pair:
    """A socket and its client, whose kernel buffers are small."""

    def __init__(self, patience: float = 30) -> None:
        near, self.client = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.notified: list[AnswerSocket] = []
        self._awake, self._wake = socket.socketpair()
        self.near = AnswerSocket(near, patience, self._notify)
        self.received = b""

    def _notify(self, unsent: AnswerSocket) -> None:
        self.notified.append(unsent)
        self._wake.send(b"!")

    def read(self, size: int) -> None:
        """Take so much as the client, and send what is unsent meanwhile, as a poller does."""
        end = len(self.received) + size
        while len(self.received) < end:
            sending = [self.near] if self.near.unsent else []
            readable, writable, _ = select.select([self.client, self._awake], sending, [], 30)
            assert readable or writable, "nothing came for 30 seconds"
            if self._awake in readable:
                self._awake.recv(100)
            if writable:
                self.near.push()
            if self.client in readable:
                self.received += self.client.recv(end - len(self.received))

    def close(self) -> None:
        """Close every end."""
        self.near.abort()
        for end in (self.near, self.client, self._awake, self._wake):
            end.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A connection of which the client has taken nothing."""
    with contextlib.closing(Pair()) as made:
        yield made


def test_nothing_is_left_of_what_is_taken(pair: Pair) -> None:
    """What the kernel takes is sent, and nobody is notified."""
    pair.near.sendall(b"abc")
    assert pair.client.recv(10) == b"abc"
    assert not pair.near.unsent
    assert pair.notified == []


def test_does_not_wait(pair: Pair) -> None:
    """A thread goes on at once; the rest comes later, in order, and is notified once."""
    pair.near.sendall(MUCH[:-100])
    pair.near.sendall(MUCH[-100:-50])
    assert pair.near.send(MUCH[-50:]) == 50
    assert pair.notified == [pair.near]
    pair.read(len(MUCH))
    assert pair.received == MUCH
    assert not pair.near.unsent


def test_no_more_waits_than_may(pair: Pair) -> None:
    """The thread waits with what would be too much, and for what is unsent before it."""
    answer = MUCH + MUCH + MUCH + MUCH[:300_000] + b"end"

    def send() -> None:
        pair.near.sendall(answer[: -len(MUCH)])
        for start in range(len(answer) - len(MUCH), len(answer), 100_000):
            pair.near.sendall(answer[start : start + 100_000])

    thread = threading.Thread(target=send)
    thread.start()
    for _ in range(len(answer) // 1000):
        pair.read(1000)
        assert len(pair.near.unsent) <= UNSENT_BYTES
    pair.read(len(answer) - len(pair.received))
    thread.join()
    assert pair.received == answer


def test_a_file_comes_behind_what_is_unsent(pair: Pair, tmp_path: Path) -> None:
    """A file's bytes do not overtake."""
    (tmp_path / "file").write_bytes(b"the file")
    pair.near.sendall(MUCH)
    with (tmp_path / "file").open("rb") as file:
        thread = threading.Thread(target=pair.near.sendfile, args=[file])
        thread.start()
        pair.read(len(MUCH) + 8)
        thread.join()
    assert pair.received == MUCH + b"the file"


@pytest.mark.parametrize("sent", [[MUCH, MUCH], [MUCH + MUCH]])
def test_a_thread_that_waits_gives_up(sent: list[bytes]) -> None:
    """A client that takes nothing for so long is waited for no longer."""
    with contextlib.closing(Pair(patience=1)) as pair:
        for part in sent[:-1]:
            pair.near.sendall(part)
        with pytest.raises(BlockingIOError):
            pair.near.sendall(sent[-1])


def test_a_client_that_is_gone(pair: Pair) -> None:
    """Nothing waits for it any more, and who waits for it learns of it."""
    pair.near.sendall(MUCH)
    errors: list[OSError] = []

    def send() -> None:
        try:
            pair.near.sendall(MUCH)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    pair.client.close()
    with pytest.raises(ConnectionError):
        pair.near.push()
    thread.join()
    assert not pair.near.unsent
    assert isinstance(errors[0], ConnectionError)


def test_is_not_closed_while_the_poller_has_it(pair: Pair) -> None:
    """Its descriptor stays its own until everything is sent."""
    pair.near.sendall(MUCH)
    pair.near.close()
    assert pair.near.fileno() != -1
    pair.read(len(MUCH))
    pair.near.close()
    assert pair.near.fileno() == -1


def test_one_thread_sends_while_another_one_pushes(pair: Pair) -> None:
    """Nothing is lost, doubled or out of order."""
    parts = [os.urandom(size) for size in range(0, 20_000, 37)]
    answer = b"".join(parts)

    def send() -> None:
        for part in parts:
            pair.near.sendall(part)

    thread = threading.Thread(target=send)
    thread.start()
    pair.read(len(answer))
    thread.join()
    assert pair.received == answer
    assert pair.notified
