"""Read what the host's process had open, through our own descriptors and those of the sandbox's first process."""
import json
import os

secret = json.loads(stream.recv())["secret"].encode()
found, looked = [], []
for process in ("self", "1"):
    try:
        names = os.listdir(f"/proc/{process}/fd")
    except OSError:
        continue
    for name in names:
        path = f"/proc/{process}/fd/{name}"
        try:
            kind = os.stat(path)
            looked.append(os.readlink(path))
            if kind.st_mode & 0o170000 == 0o100000 and secret in open(path, "rb").read(1 << 16):
                found.append(path)
        except OSError:
            pass
stream.send(json.dumps({"succeeded": bool(found), "stopped_by": sorted(set(looked))}).encode())
