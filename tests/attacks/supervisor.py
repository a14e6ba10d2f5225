"""Write into the process that supervises us and reports how we ended: every process that we see and did not start."""
mine = os.getpid()
try:
    victims = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != mine]
except OSError:
    victims = []
victims = parameters["victims"] or victims or [os.getppid() or 1]


def own_files():
    return {os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if int(name) < 3}


def descriptors(pid):
    """What it has open beyond the output that we have ourselves."""
    known = own_files()
    said = "closed"
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = f"/proc/{pid}/fd/{name}"
            if os.readlink(path) not in known:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                return None
        except OSError as error:
            said = errno.errorcode[error.errno]
    return said


def take(pid):
    handle = os.pidfd_open(pid)
    said = "EBADF"
    for fd in range(64):
        if libc.syscall(438, handle, fd, 0) >= 0:
            return None
        if ctypes.get_errno() != errno.EBADF:
            said = errno.errorcode[ctypes.get_errno()]
    return said


def memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))


def best(action):
    """Succeed with the first victim that can be had; else say what stopped us with the last."""
    said = OSError(errno.ESRCH, "")
    for pid in victims:
        try:
            said = action(pid)
        except OSError as error:
            said = error
        if said is None:
            return None
    if isinstance(said, OSError):
        raise said
    return said


attempt("open file", lambda: best(descriptors))
attempt("pidfd_getfd", lambda: best(take))
attempt("memory", lambda: best(memory))
attempt("ptrace", lambda: best(lambda pid: must(libc.ptrace(0x4206, pid, 0, 0))), apart=True)
answer()
