"""Create empty files: they take no space that a size bound would count, but kernel memory each."""
import json
import os
import time

for number in range(json.loads(stream.recv())["files"]):
    os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
time.sleep(0.3)
stream.send(json.dumps({"succeeded": True, "stopped_by": ""}).encode())
