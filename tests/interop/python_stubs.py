"""A day at the bank with grpcio and generated stubs."""

import sys

import grpc
from bank.v1 import bank_pb2, bank_pb2_grpc

import day
import python_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = bank_pb2_grpc.BankServiceStub(channel)

    def request_class(method):
        return getattr(bank_pb2, f"{method}Request")

    call = python_grpc.caller(
        lambda method, message: getattr(stub, method)(message, timeout=10), request_class
    )
    day.spend(call, "PYSTUB/2")
    python_grpc.check_streams(
        stub.WatchTransactions, stub.ExecuteStream, request_class, "a-pystub-2", "PYSTUB/2"
    )
    python_grpc.check_health(channel)
