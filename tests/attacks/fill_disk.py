"""Fill every writable file system, one file after the other."""
import time

total = 0
places = [os.getcwd(), *parameters["places"]]


def fill(number):
    global total
    with open(f"{places[number % len(places)]}/big{number}", "wb", buffering=0) as file:
        for _ in range(parameters["file_mb"]):
            total += file.write(bytes(1 << 20))


said = set()
for number in range(parameters["files"]):
    if not attempt("disk", lambda: fill(number)):
        said.add(results["disk"])
results["disk"] = "ENOSPC" if "ENOSPC" in said else min(said, default=None)
if total > parameters["bytes"] > 0:
    results["disk"] = None
time.sleep(0 if said else parameters["settle_s"])  # some bounds are looked at, not hit
answer(bytes=total)
