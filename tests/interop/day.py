"""A day at the bank, as any client can spend it.

The day is written once, in the JSON form of the API; each client brings a `call(method, request)` that
sends it in its own way and gives the answer as JSON, or raises `Refused`.
"""

import uuid


class Refused(Exception):
    """The status of a call: its code by name, and its details by their type's short name."""

    def __init__(self, code, details):
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details

    @property
    def info(self):
        return self.details["ErrorInfo"]


def spend(call, currency):
    """Spends the day. `currency` is an asset of the client's own, so that days don't meet."""
    a, b = (f"{side}-{currency.lower().replace('/', '-')}" for side in ("a", "b"))

    def money(minor_units):
        return {"currencyCode": currency, "minorUnits": str(minor_units)}

    # Open two accounts, one of them with money on it.
    opened = call("CreateAccount", {
        "requestId": f"open-{a}", "accountId": a, "currencyCode": currency,
        "displayName": "A", "labels": {"tier": "gold"}, "initialBalance": "1000",
    })["account"]
    equal(opened["state"], "ACCOUNT_STATE_ACTIVE")
    equal(opened["balance"]["posted"], "1000")
    equal(opened["labels"], {"tier": "gold"})
    call("CreateAccount", {"accountId": b, "currencyCode": currency})
    equal(refused(call, "CreateAccount", {"accountId": b, "currencyCode": currency}).info["reason"],
          "ACCOUNT_ALREADY_EXISTS")

    # Deposit, transfer.
    deposit = call("Deposit", {"accountId": a, "amount": money(250), "description": "salary"})
    equal(deposit["balance"]["posted"], "1250")
    equal(deposit["transaction"]["type"], "TRANSACTION_TYPE_DEPOSIT")
    equal(deposit["transaction"]["fromAccountId"], f"@external:{currency}")
    rent = {"requestId": str(uuid.uuid4()), "fromAccountId": a, "toAccountId": b,
            "amount": money(400), "labels": {"for": "rent"}}
    paid = call("Transfer", rent)
    equal(paid["fromBalance"]["posted"], "850")
    equal(paid["toBalance"]["posted"], "400")
    equal(paid.get("replayed", False), False)

    # Be refused.
    poor = refused(call, "Transfer", {"fromAccountId": b, "toAccountId": a, "amount": money(401)})
    equal(poor.code, "FAILED_PRECONDITION")
    equal(poor.info["reason"], "INSUFFICIENT_FUNDS")
    equal(poor.info["domain"], "bank.v1")
    equal(poor.info["metadata"], {"account_id": b, "available": "400", "requested": "401",
                                  "currency_code": currency})
    equal(poor.details["PreconditionFailure"]["violations"][0]["subject"], f"accounts/{b}")
    wrong = refused(call, "Transfer", {"fromAccountId": "Not An Id", "toAccountId": "",
                                       "amount": {"currencyCode": "dollars"}})
    equal(wrong.code, "INVALID_ARGUMENT")
    fields = sorted(one["field"] for one in wrong.details["BadRequest"]["fieldViolations"])
    equal(fields, ["amount.currency_code", "amount.minor_units", "from_account_id", "to_account_id"])
    unknown = refused(call, "GetAccount", {"accountId": f"nobody-{a}"})
    equal((unknown.code, unknown.info["reason"]), ("NOT_FOUND", "ACCOUNT_NOT_FOUND"))
    equal(unknown.details["ResourceInfo"]["resourceName"], f"nobody-{a}")

    # Repeat: the same answer and no effect; another content is refused.
    again = call("Transfer", rent)
    equal(again.pop("replayed"), True)
    paid.pop("replayed", None)
    equal(again, paid)
    other = refused(call, "Transfer", {**rent, "amount": money(500)})
    equal((other.info["reason"], other.info["metadata"]["field"]), ("REQUEST_ID_REUSED", "amount"))
    found = call("GetTransaction", {"requestId": rent["requestId"]})["transaction"]
    equal(found["transactionId"], paid["transaction"]["transactionId"])

    # Balances now and then.
    equal(call("GetBalance", {"accountId": a})["balance"]["posted"], "850")
    then = deposit["transaction"]["createTime"]
    past = call("GetBalance", {"accountId": a, "asOfTime": then})["balance"]
    equal((past["posted"], past["version"]), ("1250", "2"))

    # The statement, page by page to its end.
    entries, token, pages = [], "", 0
    while True:
        page = call("ListTransactions", {"accountId": a, "pageSize": 2, "pageToken": token})
        entries += [(one["amount"]["minorUnits"], one["balanceAfter"]) for one in page["transactions"]]
        token, pages = page.get("nextPageToken", ""), pages + 1
        if not token:
            break
    equal(entries, [("400", "850"), ("250", "1250"), ("1000", "1000")])
    equal(pages, 2)
    listed = call("ListAccounts", {"currencyCode": currency})["accounts"]
    equal([one["accountId"] for one in listed], [f"@external:{currency}", a, b])

    # Change the account, once with a tag that is stale by then.
    changed = call("UpdateAccount", {
        "account": {"accountId": a, "displayName": "Anna", "etag": opened["etag"]},
        "updateMask": "displayName",
    })["account"]
    equal((changed["displayName"], changed["labels"]), ("Anna", {"tier": "gold"}))
    stale = refused(call, "UpdateAccount", {
        "account": {"accountId": a, "displayName": "Ann", "etag": opened["etag"]}})
    equal((stale.code, stale.info["reason"]), ("ABORTED", "ETAG_MISMATCH"))

    # Freeze and unfreeze.
    call("FreezeAccount", {"accountId": b, "reason": "lost card"})
    frozen = refused(call, "Withdraw", {"accountId": b, "amount": money(1)})
    equal(frozen.info["reason"], "ACCOUNT_FROZEN")
    equal(call("UnfreezeAccount", {"accountId": b})["account"]["state"], "ACCOUNT_STATE_ACTIVE")

    # Set money aside, capture a part, reverse it.
    hold = call("PlaceHold", {"accountId": b, "toAccountId": a, "amount": money(100), "ttl": "60s"})
    equal((hold["balance"]["held"], hold["balance"]["available"]), ("100", "300"))
    hold_id = hold["hold"]["holdId"]
    captured = call("CaptureHold", {"holdId": hold_id, "amount": "70"})
    equal(captured["hold"]["state"], "HOLD_STATE_CAPTURED")
    equal(captured["transaction"]["holdId"], hold_id)
    equal(refused(call, "ReleaseHold", {"holdId": hold_id}).info["reason"], "HOLD_NOT_ACTIVE")
    moved = captured["transaction"]["transactionId"]
    back = call("ReverseTransaction", {"transactionId": moved})["transaction"]
    equal((back["amount"]["minorUnits"], back["reversesTransactionId"]), ("70", moved))
    seen = call("GetTransaction", {"transactionId": moved})["transaction"]
    equal(seen["reversedByTransactionIds"], [back["transactionId"]])

    # A batch: each on its own, then all or none.
    steps = [{"transfer": {"fromAccountId": b, "toAccountId": a, "amount": money(amount)}}
             for amount in (1, 1000)] + [
             {"transfer": {"fromAccountId": a, "toAccountId": b, "amount": money(1)}}]
    results = call("ExecuteBatch", {"operations": steps})["results"]
    equal([sorted(one) for one in results], [["transaction"], ["error"], ["transaction"]])
    whole = refused(call, "ExecuteBatch", {"operations": steps, "atomic": True})
    equal((whole.info["reason"], whole.info["metadata"]["operation_index"]),
          ("INSUFFICIENT_FUNDS", "1"))

    # Take everything out and close.
    equal(refused(call, "CloseAccount", {"accountId": b}).info["reason"], "ACCOUNT_NOT_EMPTY")
    call("Withdraw", {"accountId": b, "amount": money(400)})
    equal(call("CloseAccount", {"accountId": b})["account"]["state"], "ACCOUNT_STATE_CLOSED")
    totals = call("GetTrialBalance", {"currencyCode": currency})["totals"]
    equal(len(totals), 1)
    equal((totals[0]["accountsPosted"], totals[0]["externalPosted"]), ("850", "-850"))
    equal(int(totals[0].get("difference", "0")), 0)
    equal((totals[0]["accountCount"], totals[0]["transactionCount"]), ("2", "8"))


def refused(call, method, request):
    try:
        answer = call(method, request)
    except Refused as refusal:
        return refusal
    raise AssertionError(f"{method} was not refused: {answer}")


def equal(came, expected):
    if came != expected:
        raise AssertionError(f"{came!r} instead of {expected!r}")
