"""Signal and trace the process that started the sandbox."""
import ctypes
import json
import os

parameters = json.loads(stream.recv())
libc = ctypes.CDLL(None, use_errno=True)
done, errors = [], {}
try:
    os.kill(parameters["pid"], 0)
    done.append("kill")
except OSError as error:
    errors["kill"] = error.strerror
if libc.ptrace(parameters["ptrace"], parameters["pid"], 0, 0) == 0:
    done.append("ptrace")
else:
    errors["ptrace"] = os.strerror(ctypes.get_errno())
stream.send(json.dumps({"succeeded": bool(done), "done": done, "stopped_by": errors}).encode())
