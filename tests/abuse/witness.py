"""Another client: it calls the bank again and again, on a connection of its own, and tells how it is served.

    python3 tests/abuse/witness.py ADDRESS

Each line of its input is answered by a line of JSON: `begin` forgets what was, `enough` waits until it has
been served often enough since then, `tell` says how. It ends with an error as soon as a call fails, and with
how much it has paid in when its input ends.
"""

import json
import queue
import sys
import threading
import time

import grpc

from wire import PATIENCE, SERVICE, field

ACCOUNT = "witness"
ENOUGH = 50
# A deposit takes some memory for good, so there are few.
READS_PER_DEPOSIT = 20


def listen(asked):
    for line in sys.stdin:
        asked.put(line.strip())
    asked.put("end")


def answer(told):
    print(json.dumps(told), flush=True)


def told_of(durations):
    durations = sorted(durations)
    milliseconds = [1000 * durations[int(share * (len(durations) - 1))] for share in (0.5, 0.99, 1)]
    return {"calls": len(durations), "milliseconds": milliseconds}


def main():
    asked = queue.Queue()
    threading.Thread(target=listen, args=[asked], daemon=True).start()
    reading = field(1, ACCOUNT)
    paying = field(2, ACCOUNT) + field(3, field(1, "USD") + field(2, 1))
    durations, paid, number, question = [], 0, 0, None
    with grpc.insecure_channel(sys.argv[1]) as channel:
        read = channel.unary_unary(f"{SERVICE}GetBalance")
        pay = channel.unary_unary(f"{SERVICE}Deposit")
        while question != "end":
            number += 1
            begun = time.monotonic()
            # The deadline is there for a bank that hangs, and not for one that is slow.
            if number % READS_PER_DEPOSIT:
                read(reading, timeout=PATIENCE)
            else:
                pay(paying, timeout=PATIENCE)
                paid += 1
            durations.append(time.monotonic() - begun)
            if question is None and not asked.empty():
                question = asked.get()
            if question == "begin":
                durations = []
                answer({})
            elif question == "tell":
                answer(told_of(durations))
            elif question == "enough" and len(durations) >= ENOUGH:
                answer({})
            else:
                continue
            question = None
    answer({"paid": paid})


main()
