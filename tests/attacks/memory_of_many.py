"""Take memory in many processes, each of which stays below what one may have."""
import time

reader, writer = os.pipe()
for _ in range(parameters["processes"]):
    if os.fork() == 0:
        held = bytearray(b"\1") * (parameters["mb"] << 20)
        os.write(writer, b"x")
        time.sleep(60)
for _ in range(parameters["processes"]):
    os.read(reader, 1)
time.sleep(0.3)  # some bounds are looked at, not hit
attempt("memory", lambda: None)
answer()
