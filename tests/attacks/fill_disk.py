"""Fill every writable file system, one file after the other."""
import json
import os

parameters = json.loads(stream.recv())
total, error = 0, ""
places = [os.getcwd(), "/tmp", "/dev/shm"] if parameters["everywhere"] else [os.getcwd()]
for number in range(parameters["files"]):
    try:
        with open(f"{places[number % len(places)]}/big{number}", "wb", buffering=0) as file:
            for _ in range(parameters["file_mb"]):
                total += file.write(bytes(1 << 20))
    except OSError as failure:
        error = failure.strerror
wanted = parameters["files"] * parameters["file_mb"] << 20
stream.send(json.dumps({"succeeded": total == wanted, "stopped_by": error, "bytes": total}).encode())
