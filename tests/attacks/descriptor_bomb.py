"""Open files until the kernel says no: in this process, and in flight between sockets, where no process has them."""
import socket

held, flying = [], 0


def hold():
    for _ in range(parameters["files"]):
        held.append(os.open("/dev/null", os.O_RDONLY))


def fly():
    global flying
    left, right = socket.socketpair()
    left.setblocking(False)
    while flying < parameters["files"]:
        socket.send_fds(left, [b"x"], [0] * 10)
        flying += 10


attempt("open", hold)
for fd in held:
    os.close(fd)
attempt("in flight", fly)
answer(held=len(held), flying=flying)
