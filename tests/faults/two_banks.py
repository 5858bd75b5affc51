"""Two banks over one database, and a client that takes turns between them as README.md says.

    PYTHONPATH=target/tools/stubs target/tools/python/bin/python tests/faults/two_banks.py target/debug/bank

The stubs are made by tests/interop/run. One bank after the other is killed under load and started again: every
call has an answer in the end, and the client's own book of them is what the ledger says.
"""

import concurrent.futures
import pathlib
import random
import re
import threading
import time
import uuid

from bank.v1 import bank_pb2, bank_pb2_grpc

from postgresql import Cluster
from support import PATIENCE, Server, folder

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ACCOUNTS = [f"a{number}" for number in range(20)]
CALLERS, ROUNDS = 16, 4
# So many calls have an answer before anything else happens.
ENOUGH = 300


def channel_to(*addresses):
    """The channel of README.md, to these addresses."""
    shown = "10.0.0.1:50051,10.0.0.2:50051"
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    [block] = [block for block in blocks if shown in block]
    names = {}
    exec(block.replace(shown, ",".join(addresses)), names)
    return names["channel"]


class Book:
    """What the client was told: of each request, what it came to."""

    def __init__(self):
        self.lock, self.done, self.replayed = threading.Lock(), {}, 0

    def note(self, request, answer):
        with self.lock:
            self.done[request.request_id] = facts(answer.transaction)
            self.replayed += answer.replayed


def facts(transaction):
    return (
        transaction.transaction_id,
        transaction.from_account_id,
        transaction.to_account_id,
        transaction.amount.minor_units,
        transaction.sequence,
    )


def pay(bank, book, is_over):
    """Calls until it is over. A call that fails in spite of its retries ends the check."""
    while not is_over.is_set():
        payer, payee = random.sample(ACCOUNTS, 2)
        request = bank_pb2.TransferRequest(
            request_id=str(uuid.uuid4()),
            from_account_id=payer,
            to_account_id=payee,
            amount={"currency_code": "USD", "minor_units": random.randint(1, 100)},
        )
        book.note(request, bank.Transfer(request, timeout=PATIENCE))


def until(is_so, callers):
    limit = time.monotonic() + PATIENCE
    while not is_so():
        for caller in callers:
            if caller.done():
                caller.result()
        assert time.monotonic() < limit, "nothing goes on"
        time.sleep(0.01)


def has_served(server):
    return any("Transfer" in line for line in list(server.log))


def whole_ledger(bank):
    """Every transfer that is in the ledger, by its request id."""
    found, token = [], ""
    while True:
        page = bank.ListTransactions(
            bank_pb2.ListTransactionsRequest(
                page_size=1000, page_token=token, types=[bank_pb2.TRANSACTION_TYPE_TRANSFER]
            )
        )
        found += [(transaction.request_id, facts(transaction)) for transaction in page.transactions]
        token = page.next_page_token
        if not token:
            return found


def main():
    with folder() as place, folder() as other:
        cluster = Cluster(place, other / "log")
        cluster.migrate()

        def serve(listen="127.0.0.1:0"):
            return Server(cluster.url, listen=listen, level="info")

        servers = [serve(), serve()]
        channel = channel_to(*(server.address for server in servers))
        bank, book, is_over = bank_pb2_grpc.BankServiceStub(channel), Book(), threading.Event()
        for account in ACCOUNTS:
            bank.CreateAccount(
                bank_pb2.CreateAccountRequest(
                    request_id=f"open-{account}", account_id=account, currency_code="USD", initial_balance=10**9
                )
            )
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(pay, bank, book, is_over) for _ in range(CALLERS)]

            def more():
                enough = len(book.done) + ENOUGH
                until(lambda: len(book.done) >= enough, callers)

            try:
                until(lambda: all(map(has_served, servers)), callers)
                for turn in range(ROUNDS):
                    killed = turn % 2
                    more()
                    servers[killed].kill()
                    more()
                    servers[killed] = serve(servers[killed].address)
                    until(lambda: has_served(servers[killed]), callers)
            finally:
                is_over.set()
            for caller in callers:
                caller.result()

        found = whole_ledger(bank)
        assert len(found) == len(book.done), (len(found), len(book.done))
        assert dict(found) == book.done
        totals = bank.GetTrialBalance(bank_pb2.GetTrialBalanceRequest()).totals
        assert [one.difference for one in totals] == [0], totals
        channel.close()
        for server in servers:
            server.end()
        cluster.verify()
        cluster.stop()
    came = f"{ROUNDS} killed, {len(book.done)} transfers, {book.replayed} answered by a repeat"
    print(f"ok       two banks behind one name: {came}")


main()
