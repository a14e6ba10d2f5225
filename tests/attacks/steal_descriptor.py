"""Take an open file out of another process: pidfd_getfd, and a fresh open through /proc/PID/fd."""


def take(pid, fd):
    handle = os.pidfd_open(pid)
    try:
        os.close(done(libc.syscall(438, handle, fd, 0)))
    finally:
        os.close(handle)


for part, victim in parameters["victims"].items():
    attempt(f"{part}: pidfd_getfd", lambda: take(victim["pid"], victim["fd"]))
    attempt(f"{part}: /proc", lambda: os.close(os.open(f"/proc/{victim['pid']}/fd/{victim['fd']}", os.O_RDONLY)))
answer()
