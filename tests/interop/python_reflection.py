"""A day at the bank with grpcio and no stubs: all that is known comes by reflection.

Once with grpc.reflection.v1alpha, which is what grpcio's own reflection client speaks, and once with
the service list of grpc.reflection.v1, whose messages have the same form.
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import day
import python_grpc

SERVICE = "bank.v1.BankService"

with grpc.insecure_channel(sys.argv[1]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in database.get_services(), database.get_services()
    service = DescriptorPool(database).FindServiceByName(SERVICE)

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

    # The package version of a message is no part of its bytes.
    v1 = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    (answer,) = v1(iter(requests), timeout=10)
    names = [one.name for one in answer.list_services_response.service]
    assert SERVICE in names and not any("journal" in name for name in names), names
