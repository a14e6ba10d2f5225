"""Take memory in one process."""
import json

held, error = [], ""
try:
    for _ in range(json.loads(stream.recv())["mb"]):
        held.append(bytearray(b"\1") * (1 << 20))
except MemoryError as failure:
    count = len(held)
    held.clear()
    stream.send(json.dumps({"succeeded": False, "stopped_by": "MemoryError", "mb": count}).encode())
else:
    stream.send(json.dumps({"succeeded": True, "stopped_by": ""}).encode())
