"""Find the environment of whoever started us, where API keys live, in every /proc/PID/environ that can be seen."""
import json
import os

secret = bytes.fromhex(json.loads(stream.recv())["secret"])
found, looked, errors = [], 0, set()
for name in os.listdir("/proc"):
    if name.isdigit():
        try:
            looked += 1
            with open(f"/proc/{name}/environ", "rb") as file:
                if secret in file.read():
                    found.append(name)
        except OSError as error:
            errors.add(error.strerror)
stream.send(json.dumps({"succeeded": bool(found), "stopped_by": f"none of {looked} processes is ours"}).encode())
