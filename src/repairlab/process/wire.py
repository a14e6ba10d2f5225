"""wire: what a zygote and its client say to each other, one JSON object a SOCK_SEQPACKET message.

client  {"start": token, "entry"|"command", "argv", "name", "cwd", "env", "rlimits", "stdio": [out?, err?]} + SCM_RIGHTS
{"kill": token, "signal": n}  {"ping": n}
zygote  {"ready": pid}  {"pong": n}  {"started": token, "pid"}  {"refused": token, "reason"}
{"exited": token, "pid", "status", "cpu_s", "max_rss", "wall_s"}
"""

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAX_MESSAGE = 1 << 20
MAX_FDS = 64
Message = dict[str, Any]


def send(control: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message; BlockingIOError when a non-blocking socket is full."""
    raw = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    control.sendmsg([raw], rights, socket.MSG_NOSIGNAL)


def receive(control: socket.socket, flags: int = 0) -> tuple[Message, list[int]] | None:
    """Return the next message with the descriptors it carried (close-on-exec); None at the end of the stream."""
    flags |= socket.MSG_CMSG_CLOEXEC
    raw, ancillary, _, _ = control.recvmsg(MAX_MESSAGE, socket.CMSG_LEN(MAX_FDS * 4), flags)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if not raw:
        return None
    return json.loads(raw), list(fds)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that were received."""
    for fd in fds:
        os.close(fd)
