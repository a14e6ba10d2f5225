"""Find the environment of whoever started us, where API keys live, in every /proc/PID/environ that can be seen."""
secret = bytes.fromhex(parameters["secret"])


def search():
    said = "ENOENT"
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if secret in file.read():
                        return None
            except OSError as error:
                said = errno.errorcode[error.errno]
    return said


def look(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return None if secret in file.read() else "empty"


attempt("any process", search)
attempt("the starter", lambda: look(parameters["pid"]))
answer()
