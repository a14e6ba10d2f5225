"""Take memory in many processes, each of which stays below what one may have."""
import json
import os
import time

parameters = json.loads(stream.recv())
reader, writer = os.pipe()
for _ in range(parameters["processes"]):
    if os.fork() == 0:
        held = bytearray(b"\1") * (parameters["mb"] << 20)
        os.write(writer, b"x")
        time.sleep(60)
for _ in range(parameters["processes"]):
    os.read(reader, 1)
time.sleep(0.3)
stream.send(json.dumps({"succeeded": True, "stopped_by": ""}).encode())
