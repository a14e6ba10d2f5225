"""Change the root directory, the first half of the oldest way out of one."""
os.mkdir("root")
attempt("chroot", lambda: os.chroot("root"), apart=True)
answer()
