"""Sleep past every deadline, deaf to signals."""
import time

for name in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(name, signal.SIG_IGN)
stream.send(b"asleep")
while True:
    time.sleep(60)
