"""Write anywhere but in the work directory."""
import json
import os

parameters = json.loads(stream.recv())
written, errors = [], {}
for path in parameters["paths"]:
    try:
        with open(path, "ab"):
            written.append(path)
    except OSError as error:
        errors[path] = error.strerror
for path in parameters["rewrite"]:  # the same value again: what counts is that we may
    try:
        value = open(path, "rb").read()
        with open(path, "r+b", buffering=0) as file:
            file.write(value)
        written.append(path)
    except OSError as error:
        errors[path] = error.strerror
stream.send(json.dumps({"succeeded": bool(written), "written": written, "stopped_by": errors}).encode())
