"""Reach a service of the host: over loopback, over an abstract unix socket, and the hypervisor over vsock."""
import json
import socket

parameters = json.loads(stream.recv())
reached, errors = [], {}
for family, address in ((socket.AF_INET, ("127.0.0.1", parameters["port"])), (socket.AF_UNIX, "\0" + parameters["abstract"])):
    with socket.socket(family) as attempt:
        attempt.settimeout(2)
        try:
            attempt.connect(address)
            reached.append(family.name)
        except OSError as error:
            errors[family.name] = error.strerror
try:
    socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK
    reached.append("AF_VSOCK")
except OSError as error:
    errors["AF_VSOCK"] = error.strerror
stream.send(json.dumps({"succeeded": bool(reached), "reached": reached, "stopped_by": errors}).encode())
