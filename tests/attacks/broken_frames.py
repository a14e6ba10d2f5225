"""Break the framing: announce more than is allowed, stop in the middle, or close."""
import struct
import time

case = parameters["case"]
if case == "oversize":
    os.write(stream.fd, struct.pack(">I", 0xFFFFFFFF))
elif case == "stalled":
    os.write(stream.fd, struct.pack(">I", 100) + b"half")
elif case == "closed":
    os._exit(3)
time.sleep(60)
