"""Exits 0 where the service of this container is ready, else 1 and says why.

Runs every few seconds for as long as the container lives, so it imports next to nothing: run it
with ``python -I -S``.
"""

import os
import socket
import sys


def main() -> int:
    """Ask /readyz and return the exit status that Docker reads."""
    port = int(os.environ.get("PORT") or 10000)
    try:
        # create_connection would look the address up, and import a codec for that
        with socket.socket() as connection:
            connection.settimeout(2.5)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            received = b""
            # To its end: the service's log shows an answer that is left half read as broken off.
            while part := connection.recv(4096):
                received += part
            answer = received.split(b"\r\n")[0].decode("latin-1")
    except OSError as error:
        answer = str(error)
    print(answer)
    return 0 if answer.split()[1:2] == ["200"] else 1


if __name__ == "__main__":
    sys.exit(main())
