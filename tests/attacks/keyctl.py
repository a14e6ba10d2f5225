"""Use the keyrings of whoever started us."""
attempt("keyctl", lambda: must(libc.syscall(number(250, 219), 0, -3, 0)))
attempt("add_key", lambda: must(libc.syscall(number(248, 217), b"user", b"attack", b"x", 1, -2)))
# No key of this name: that it was looked for says that we may (ENOKEY).
attempt("request_key", lambda: must(libc.syscall(number(249, 218), b"user", b"no such key", None, 0)))
if results["request_key"] == "ENOKEY":
    results["request_key"] = None
answer()
