"""Answer in the name of the server that forked us: over inherited descriptors, /proc, ptrace and pidfd_getfd."""
import struct

forged = json.dumps({"parts": {"verdict": None}, "figures": {}}).encode()
forged = struct.pack(">I", len(forged)) + forged


def write(path_or_fd):
    try:
        os.write(path_or_fd if isinstance(path_or_fd, int) else os.open(path_or_fd, os.O_WRONLY), forged)
    except OSError:
        pass


def forge(server, stream_fd):
    for fd in {*range(3, 64), stream_fd}:  # the stream has whatever number was free where it was made
        write(fd)
    for victim in (server, 1) if parameters["sealed"] else (server,):  # unconfined, 1 is the machine's own
        write(f"/proc/{victim}/fd/{stream_fd}")
        try:
            handle = os.pidfd_open(victim)
        except OSError:
            continue
        for candidate in {*range(3, 32), stream_fd}:
            fd = libc.syscall(438, handle, candidate, 0)  # pidfd_getfd
            if fd >= 0:
                write(fd)


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
results["verdict"] = "sealed"
answer()
