"""Take memory that no process shows as resident: in a memfd, and in a System V segment that nobody is attached to."""
import ctypes
import json
import os

stream.recv()
libc = ctypes.CDLL(None, use_errno=True)
done, errors = [], {}
fd = libc.memfd_create(b"hidden", 0)
if fd >= 0:
    os.write(fd, bytes(1 << 20))
    done.append("memfd")
else:
    errors["memfd"] = os.strerror(ctypes.get_errno())
segment = libc.shmget(0, 1 << 20, 0o600 | 0o1000)
if segment >= 0:
    libc.shmctl(segment, 0, 0)
    done.append("shm")
else:
    errors["shm"] = os.strerror(ctypes.get_errno())
stream.send(json.dumps({"succeeded": bool(done), "done": done, "stopped_by": errors}).encode())
