"""Fork until the kernel says no."""
import json
import os
import signal
import time

wanted, made, error = json.loads(stream.recv())["processes"], [], ""
for _ in range(wanted):
    try:
        pid = os.fork()
    except OSError as failure:
        error = failure.strerror
        break
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    made.append(pid)
for pid in made:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
stream.send(json.dumps({"succeeded": len(made) == wanted, "stopped_by": error, "made": len(made)}).encode())
