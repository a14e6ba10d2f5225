"""Use what the starter had open: its secret file, and every socket but the stream; our own and those of PID 1."""
import stat

secret = parameters["secret"].encode()


def taken(fd):
    path = f"/proc/self/fd/{fd}"
    status = os.stat(path)
    if stat.S_ISSOCK(status.st_mode):
        return fd != stream.fd
    return stat.S_ISREG(status.st_mode) and secret in open(path, "rb").read(1 << 16)


def own():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found += [name] if taken(int(name)) else []
        except OSError:
            pass  # the one that listed the directory
    return None if found else "closed"


def others(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = f"/proc/{pid}/fd/{name}"
            if stat.S_ISREG(os.stat(path).st_mode) and secret in open(path, "rb").read(1 << 16):
                return None
        except OSError:
            pass
    return "closed"


attempt("own", own)
if not parameters["control"]:
    attempt("of PID 1", lambda: others(1))
answer()
