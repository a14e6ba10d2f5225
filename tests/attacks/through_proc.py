"""Reach the files, descriptors and memory of another process through /proc/PID."""


def read(path, at=0):
    fd = os.open(path, os.O_RDONLY)
    try:
        return None if os.pread(fd, 4096, at) else "empty"
    finally:
        os.close(fd)


def listed(path):
    return None if os.listdir(path) else "empty"


for part, victim in parameters["victims"].items():
    proc = f"/proc/{victim['pid']}"
    attempt(f"{part}: root", lambda: read(f"{proc}/root{victim['file']}"))
    attempt(f"{part}: cwd", lambda: listed(f"{proc}/cwd"))
    attempt(f"{part}: fd", lambda: listed(f"{proc}/fd"))
    attempt(f"{part}: maps", lambda: read(f"{proc}/maps"))
    attempt(f"{part}: mem", lambda: read(f"{proc}/mem", victim["address"]))
answer()
