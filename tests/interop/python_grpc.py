"""What both Python clients share: calls with messages of any making, and statuses in plain form."""

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from day import Refused

DETAILS = [error_details_pb2.ErrorInfo, error_details_pb2.BadRequest,
           error_details_pb2.PreconditionFailure, error_details_pb2.ResourceInfo,
           error_details_pb2.RetryInfo]


def caller(send, request_class):
    """A `call(method, request)` for the day: `send(method, message)` does the call."""

    def call(method, request):
        message = json_format.ParseDict(request, request_class(method)())
        try:
            answer = send(method, message)
        except grpc.RpcError as error:
            raise Refused(error.code().name, details_of(error)) from None
        return json_format.MessageToDict(answer)

    return call


def details_of(error):
    status = rpc_status.from_call(error)
    details = {}
    for packed in status.details if status else []:
        for kind in DETAILS:
            if packed.Is(kind.DESCRIPTOR):
                message = kind()
                packed.Unpack(message)
                details[kind.DESCRIPTOR.name] = json_format.MessageToDict(message)
    return details


def check_streams(watch, stream, request_class, account_id, currency):
    """Bulk load through a pipe, seen live: `watch` and `stream` do the two calls."""
    feed = iter(watch(json_format.ParseDict({"accountId": account_id},
                                            request_class("WatchTransactions")())))
    assert not next(feed).HasField("transaction"), "the first message only says that it is alive"
    kind = request_class("ExecuteStream")
    steps = [{"correlationId": str(number), "operation": {"deposit": {
        "accountId": account_id, "amount": {"currencyCode": currency, "minorUnits": str(number)}}}}
        for number in range(0, 300)]
    answers = list(stream(iter([json_format.ParseDict(step, kind()) for step in steps])))
    assert [answer.correlation_id for answer in answers] == list(range(0, 300))
    # A deposit of 0 is refused in its place, and the others go through.
    assert answers[0].result.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], answers[0]
    made = [answer.result.transaction.transaction_id for answer in answers[1:]]
    seen = []
    while len(seen) < len(made):
        message = next(feed)
        if message.HasField("transaction"):
            seen.append(message.transaction.transaction_id)
    assert seen == made, "the feed has what was made, once and in order"


def check_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "bank.v1.BankService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (service, answer)
    first = next(iter(health.Watch(health_pb2.HealthCheckRequest())))
    assert first.status == health_pb2.HealthCheckResponse.SERVING, first
