"""sibling: what runs in a sandbox beside the attacked one. It has a secret, and tells how often it was signalled."""

import ctypes
import json
import os
import signal
import socket

order = json.loads(stream.recv())  # noqa: F821  it runs where `inside` has left its names
signalled = 0


def count(*_):
    global signalled
    signalled += 1


def listen(family, address):
    try:
        server = socket.socket(family)
        server.bind(address)
        server.listen()
    except OSError:  # a tier that allows no socket
        return None
    return server


signal.signal(signal.SIGCONT, count)
ctypes.CDLL(None).prctl(15, order["name"].encode(), 0, 0, 0)  # PR_SET_NAME: by it the host finds our pid
held = ctypes.create_string_buffer(order["secret"].encode())
with open("sibling", "w") as file:
    file.write(order["secret"])
opened = open("sibling", "rb")
inet = listen(socket.AF_INET, ("127.0.0.1", 0))
abstract = listen(socket.AF_UNIX, "\0" + order["name"])
about = {"address": ctypes.addressof(held), "fd": opened.fileno(), "file": os.path.abspath("sibling")}
stream.send(json.dumps({**about, "port": inet and inet.getsockname()[1]}).encode())  # noqa: F821
while stream.recv():  # noqa: F821
    stream.send(str(signalled).encode())  # noqa: F821
