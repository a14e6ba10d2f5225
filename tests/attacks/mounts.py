"""Mount: a fresh file system, /proc as it really is, what is read-only writable; by the old calls and by the new."""
NEW_MOUNTS, REC, PRIVATE, REMOUNT, BIND = 0x20000, 0x4000, 1 << 18, 32, 4096
here = os.getcwd().encode()


def alone(action):
    """In a mount namespace of its own where we may have one, so that the machine keeps its mounts."""

    def run():
        if libc.unshare(NEW_MOUNTS) == 0:
            done(libc.mount(b"none", b"/", None, REC | PRIVATE, None))
        done(action())

    return run


attempt("tmpfs", alone(lambda: libc.mount(b"none", here, b"tmpfs", 0, None)), apart=True)
attempt("proc", alone(lambda: libc.mount(b"none", here, b"proc", 0, None)), apart=True)
attempt("bind", alone(lambda: libc.mount(b"/usr", here, None, BIND, None)), apart=True)
attempt("writable", alone(lambda: libc.mount(b"none", b"/proc", None, REMOUNT | BIND, None)), apart=True)
attempt("umount", alone(lambda: libc.umount2(b"/proc", 2)), apart=True)
attempt("fsopen", alone(lambda: libc.syscall(430, b"tmpfs", 0)), apart=True)
attempt("open_tree", alone(lambda: libc.syscall(428, -100, b"/usr", 1)), apart=True)
answer()
