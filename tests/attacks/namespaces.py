"""Make a user namespace, where we would be root and reach kernel code that only root reaches, or join another's."""
NEW_USER, NEW_NET = 0x10000000, 0x40000000
mine = os.getpid()


def clone():
    pid = libc.syscall(number(56, 220), NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(done(pid), 0)


def clone3():
    arguments = (ctypes.c_uint64 * 8)(NEW_USER, 0, 0, 0, signal.SIGCHLD)
    pid = libc.syscall(435, ctypes.byref(arguments), 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(done(pid), 0)


def join(pid):
    handle = os.pidfd_open(pid)
    done(libc.setns(handle, NEW_NET))


attempt("unshare", lambda: must(libc.unshare(NEW_USER)), apart=True)
attempt("clone", clone, apart=True)
attempt("clone3", clone3, apart=True)
attempt("setns", lambda: join(parameters["pid"]), apart=True)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
must(libc.syscall(number(125, 90), header, data))  # capget; /proc may be closed
answer(capabilities=data[0] | data[3], without_no_new_privileges=1 - libc.prctl(39, 0, 0, 0, 0))
