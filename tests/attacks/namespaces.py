"""Make namespaces of our own, where we would be root and reach kernel code that only root reaches."""
import ctypes
import json
import os

stream.recv()
libc = ctypes.CDLL(None, use_errno=True)
done, errors = [], {}
for name, call in (
    ("unshare", lambda: libc.unshare(0x10000000)),
    ("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    ("keyctl", lambda: min(0, libc.syscall({"x86_64": 250}.get(os.uname().machine, 219), 0, -3, 0))),
):
    if call() == 0:
        done.append(name)
    else:
        errors[name] = os.strerror(ctypes.get_errno())
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
stream.send(
    json.dumps(
        {
            "succeeded": bool(done),
            "done": done,
            "stopped_by": errors,
            "capabilities": status["CapEff"],
            "no_new_privileges": status["NoNewPrivs"],
        }
    ).encode()
)
