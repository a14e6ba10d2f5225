"""Connect to sockets that others listen on."""
import socket


def reach(family, kind, address):
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as attempt:
        attempt.settimeout(1)
        try:
            attempt.connect(tuple(address) if isinstance(address, list) else address)
        except TimeoutError:
            return "ETIMEDOUT"


for part, (family, kind, address) in parameters["targets"].items():
    attempt(part, lambda: reach(family, kind, address))
answer()
