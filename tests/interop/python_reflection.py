"""A day at the bank with grpcio and no stubs: all that is known comes by reflection.

The day and the health checks go by grpc.reflection.v1 alone. grpcio's own reflection client speaks
v1alpha, whose messages have the same form, so its calls are sent to v1 by their name; a second client,
left as it is, checks that v1alpha answers with the same.
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import day
import python_grpc

SERVICE = "bank.v1.BankService"
HEALTH = "grpc.health.v1.Health"


class ReflectionV1(grpc.StreamStreamClientInterceptor):
    """Sends calls to grpc.reflection.v1 instead of v1alpha, and notes which methods were called."""

    def __init__(self):
        self.methods = set()

    def intercept_stream_stream(self, continuation, details, requests):
        method = details.method.replace("grpc.reflection.v1alpha.", "grpc.reflection.v1.")
        self.methods.add(method)
        return continuation(details._replace(method=method), requests)


def check_health(channel, pool):
    """Without stubs here too: the health service is described by the server like the bank's own."""
    check = pool.FindServiceByName(HEALTH).FindMethodByName("Check")
    request, answer = GetMessageClass(check.input_type), GetMessageClass(check.output_type)
    call = channel.unary_unary(f"/{HEALTH}/Check", request_serializer=request.SerializeToString,
                               response_deserializer=answer.FromString)
    for service in ("", SERVICE):
        status = call(request(service=service), timeout=10).status
        day.equal((service, answer.ServingStatus.Name(status)), (service, "SERVING"))


with grpc.insecure_channel(sys.argv[1]) as channel:
    v1 = ReflectionV1()
    database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, v1))
    names = sorted(database.get_services())
    assert SERVICE in names and not any("journal" in name for name in names), names
    pool = DescriptorPool(database)
    service = pool.FindServiceByName(SERVICE)

    def request_class(method):
        return GetMessageClass(service.FindMethodByName(method).input_type)

    def caller_of(method, kind):
        return kind(
            f"/{SERVICE}/{method}",
            request_serializer=request_class(method).SerializeToString,
            response_deserializer=GetMessageClass(
                service.FindMethodByName(method).output_type
            ).FromString,
        )

    def send(method, message):
        return caller_of(method, channel.unary_unary)(message, timeout=10)

    day.spend(python_grpc.caller(send, request_class), "PYREFL/2")
    python_grpc.check_streams(
        caller_of("WatchTransactions", channel.unary_stream),
        caller_of("ExecuteStream", channel.stream_stream),
        request_class, "a-pyrefl-2", "PYREFL/2",
    )

    check_health(channel, pool)
    day.equal(v1.methods, {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"})

    older = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in older.get_services(), older.get_services()
    day.equal(older.FindFileContainingSymbol(SERVICE), database.FindFileContainingSymbol(SERVICE))
