"""Signal the process that started the sandbox, a sibling sandbox, and everybody who can be reached."""
for part, pid in parameters["pids"].items():
    attempt(part, lambda: os.kill(pid, signal.SIGCONT))
if parameters["everybody"]:
    try:
        os.kill(-1, signal.SIGCONT)
    except OSError:
        pass
answer()
