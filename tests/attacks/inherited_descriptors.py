"""Use what the starter had open: its secret file, and every socket but the stream; our own and those of PID 1."""
import stat

secret = parameters["secret"].encode()


def taken(fd):
    try:
        kind = os.fstat(fd).st_mode
        return fd != stream.fd if stat.S_ISSOCK(kind) else stat.S_ISREG(kind) and secret in os.pread(fd, 1 << 16, 0)
    except OSError:
        return False


def others(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = f"/proc/{pid}/fd/{name}"
            if stat.S_ISREG(os.stat(path).st_mode) and secret in open(path, "rb").read(1 << 16):
                return None
        except OSError:
            pass
    return "closed"


attempt("own", lambda: None if any(map(taken, range(1 << 12))) else "closed")
if not parameters["control"]:
    attempt("of PID 1", lambda: others(1))
answer()
