"""Take memory that no process shows as resident: in a memfd, and in a System V segment that nobody is attached to."""


def memfd():
    os.write(done(libc.memfd_create(b"hidden", 0)), bytes(1 << 20))


def segment():
    libc.shmctl(done(libc.shmget(0, 1 << 20, 0o1600)), 0, 0)


attempt("memfd", memfd)
attempt("shm", segment)
answer()
