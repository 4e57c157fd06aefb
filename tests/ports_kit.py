"""Ports for servers of tests that bind them later, or again."""

import random
import socket

RANGE = range(20_000, 32_768)  # Linux assigns the ports above to sockets that name none
_RANDOM = random.SystemRandom()  # Hypothesis seeds the other generator


def free_port():
    """Return a free port of 127.0.0.1 that no socket is assigned until it is bound."""
    while True:
        port = _RANDOM.choice(RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
