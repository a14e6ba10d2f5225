"""Trace another process: PTRACE_SEIZE (which stops nobody), in a process that lets go by ending."""
for part, pid in parameters["pids"].items():
    attempt(part, lambda: must(libc.ptrace(0x4206, pid, 0, 0)), apart=True)
answer()
