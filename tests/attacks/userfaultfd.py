"""Stop the kernel in the middle of a copy: userfaultfd, by its call and by its device."""
attempt("call", lambda: os.close(done(libc.syscall(number(323, 282), os.O_CLOEXEC))))
attempt("device", lambda: os.close(os.open("/dev/userfaultfd", os.O_RDWR)))
answer()
