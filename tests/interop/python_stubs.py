"""A day at the bank with grpcio and generated stubs."""

import sys

import grpc
from bank.v1 import bank_pb2, bank_pb2_grpc

import day
import python_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = bank_pb2_grpc.BankServiceStub(channel)
    call = python_grpc.caller(
        lambda method, message: getattr(stub, method)(message, timeout=10),
        lambda method: getattr(bank_pb2, f"{method}Request"),
    )
    day.spend(call, "PYSTUB/2")
    python_grpc.check_health(channel)
