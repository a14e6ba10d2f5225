"""Make sockets of the families and protocols that lead to kernel code, to other machines, or past the namespaces."""
import socket

for part, (family, kind, protocol) in parameters["sockets"].items():
    attempt(part, lambda: socket.socket(family, kind, protocol).close())
answer()
