"""Slow down or end another process by its limits, its priority, its processors, its turn at the disk.

Each is set to what it is already: what counts is that we may.
"""
import resource

for part, pid in parameters["pids"].items():

    def limits():
        resource.prlimit(pid, resource.RLIMIT_CORE, resource.prlimit(pid, resource.RLIMIT_CORE))

    attempt(f"{part}: limits", limits)
    attempt(f"{part}: priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)))
    attempt(f"{part}: processors", lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)))
    attempt(f"{part}: disk", lambda: must(libc.syscall(number(251, 30), 1, pid, libc.syscall(number(252, 31), 1, pid))))
answer()
