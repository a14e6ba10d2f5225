"""Start threads until the kernel says no."""
import json
import threading

wanted, made, error = json.loads(stream.recv())["threads"], 0, ""
threading.stack_size(64 << 10)
stop = threading.Event()
for _ in range(wanted):
    try:
        threading.Thread(target=stop.wait, daemon=True).start()
        made += 1
    except RuntimeError as failure:
        error = str(failure)
        break
stop.set()
stream.send(json.dumps({"succeeded": made == wanted, "stopped_by": error, "made": made}).encode())
