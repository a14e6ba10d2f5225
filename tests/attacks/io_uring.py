"""Make a ring, through which the kernel makes calls that no filter sees."""
attempt("io_uring", lambda: os.close(done(libc.syscall(425, 1, bytes(120)))))
answer()
