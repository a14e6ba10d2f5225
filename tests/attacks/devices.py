"""Make a device, and open those of the machine."""
import stat

attempt("mknod character", lambda: os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3)))
if parameters["block"]:
    attempt("mknod block", lambda: os.mknod("block", stat.S_IFBLK | 0o600, os.makedev(7, 0)))
for path in parameters["paths"]:
    attempt(path, lambda: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))
answer()
