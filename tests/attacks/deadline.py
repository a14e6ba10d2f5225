"""Sleep past every deadline, deaf to signals."""
import signal
import time

stream.recv()
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_IGN)
stream.send(b"asleep")
while True:
    time.sleep(60)
