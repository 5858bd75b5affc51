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

    def send(method, message):
        described = service.FindMethodByName(method)
        unary = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(message).SerializeToString,
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        return unary(message, timeout=10)

    call = python_grpc.caller(
        send, lambda method: GetMessageClass(service.FindMethodByName(method).input_type)
    )
    day.spend(call, "PYREFL/2")

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
