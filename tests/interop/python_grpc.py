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


def check_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "bank.v1.BankService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (service, answer)
    first = next(iter(health.Watch(health_pb2.HealthCheckRequest())))
    assert first.status == health_pb2.HealthCheckResponse.SERVING, first
