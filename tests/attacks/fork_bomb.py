"""Fork until the kernel says no."""
import time

made = []


def fork():
    for _ in range(parameters["processes"]):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        made.append(pid)


attempt("fork", fork)
for pid in made:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
answer(made=len(made))
