"""Run code that this process wrote: mapped writable and executable, made so later, or through a second mapping."""
READ, WRITE, EXECUTE, SHARED, PRIVATE, ANONYMOUS = 1, 2, 4, 1, 2, 0x20
CODE = {"x86_64": "b82a000000c3", "aarch64": "40058052c0035fd6"}[os.uname().machine]  # return 42
PAGE = os.sysconf("SC_PAGE_SIZE")
CODE = bytes.fromhex(CODE)


def mapped(protection, flags=PRIVATE | ANONYMOUS, fd=-1):
    return done(libc.mmap(None, ctypes.c_size_t(PAGE), protection, flags, fd, ctypes.c_long(0)))


def runs(address):
    return None if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 42 else "no code"


def write(address):
    ctypes.memmove(address, CODE, len(CODE))
    return address


def protected():
    address = write(mapped(READ | WRITE))
    done(libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), READ | EXECUTE))
    return runs(address)


def personality():
    done(libc.personality(0x0400000))  # READ_IMPLIES_EXEC
    return runs(write(mapped(READ | WRITE)))


def twice(fd):
    """Map a file twice: what is written to the one can be run in the other."""
    os.ftruncate(fd, PAGE)
    code = mapped(READ | EXECUTE, SHARED, fd)
    write(mapped(READ | WRITE, SHARED, fd))
    return runs(code)


def attached():
    """A segment of System V memory may be attached executable."""
    segment = done(libc.shmget(0, ctypes.c_size_t(PAGE), 0o1700))
    try:
        return runs(write(done(libc.shmat(segment, None, 0o100000))))
    finally:
        libc.shmctl(segment, 0, None)


def forced():
    """The kernel writes for us, past the protection of the page."""
    victim = ctypes.cast(libc.getpriority, ctypes.c_void_p).value
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(victim)
        memory.write(CODE)
    return runs(victim)


attempt("mmap", lambda: runs(write(mapped(READ | WRITE | EXECUTE))), apart=True)
attempt("mprotect", protected, apart=True)
attempt("personality", personality, apart=True)
attempt("memfd", lambda: twice(done(libc.memfd_create(b"code", 0))), apart=True)
attempt("shmat", attached, apart=True)
attempt("/proc/self/mem", forced, apart=True)
answer()
