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
        self.news, self.done, self.replayed = threading.Condition(), {}, 0

    def note(self, request, answer):
        with self.news:
            self.done[request.request_id] = facts(answer.transaction)
            self.replayed += answer.replayed
            self.news.notify()

    def until(self, is_so):
        """Waits for something that shows itself by the time that further answers have come."""
        with self.news:
            assert self.news.wait_for(is_so, timeout=PATIENCE), "nothing goes on"


def facts(transaction):
    return (
        transaction.transaction_id,
        transaction.from_account_id,
        transaction.to_account_id,
        transaction.amount.minor_units,
        transaction.sequence,
    )


def pay(bank, book, is_over, chance):
    """Calls until it is over. A call that fails in spite of its retries ends the check."""
    while not is_over.is_set():
        payer, payee = chance.sample(ACCOUNTS, 2)
        request = bank_pb2.TransferRequest(
            request_id=str(uuid.UUID(int=chance.getrandbits(128))),
            from_account_id=payer,
            to_account_id=payee,
            amount={"currency_code": "USD", "minor_units": chance.randint(1, 100)},
        )
        book.note(request, bank.Transfer(request, timeout=PATIENCE))


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
    seed = random.randrange(2**32)
    print(f"seed {seed}")
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
            chances = [random.Random(seed + caller) for caller in range(CALLERS)]
            callers = [pool.submit(pay, bank, book, is_over, chance) for chance in chances]

            def more():
                enough = len(book.done) + ENOUGH
                book.until(lambda: len(book.done) >= enough)

            try:
                book.until(lambda: all(map(has_served, servers)))
                for turn in range(ROUNDS):
                    killed = turn % 2
                    more()
                    servers[killed].kill()
                    more()
                    servers[killed] = serve(servers[killed].address)
                    book.until(lambda: has_served(servers[killed]))
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
