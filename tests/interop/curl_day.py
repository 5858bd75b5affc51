"""A day at the bank with buf curl or with grpcurl, by reflection, in JSON.

`curl_day.py TOOL ADDRESS`. Both tools print a status in their own form; what is compared is the same.
"""

import base64
import json
import subprocess
import sys
from pathlib import Path

from google.protobuf import json_format
from google.rpc import error_details_pb2

import day

TOOL, ADDRESS = sys.argv[1:]
IS_BUF = Path(TOOL).name == "buf"
METHOD = "bank.v1.BankService/"


def call(method, request):
    body = json.dumps(request)
    if IS_BUF:
        command = [TOOL, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", body,
                   f"http://{ADDRESS}/{METHOD}{method}"]
    else:
        command = [TOOL, "-plaintext", "-format-error", "-d", body, ADDRESS, METHOD + method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return json.loads(done.stdout)
    status = json.loads(done.stderr)
    details = dict(map(buf_detail if IS_BUF else grpcurl_detail, status["details"]))
    raise day.Refused(code_name(status["code"]), details)


def buf_detail(detail):
    """buf names the type and leaves the value as it came, in base64."""
    name = detail["type"].split(".")[-1]
    value = detail["value"]
    message = getattr(error_details_pb2, name)()
    message.ParseFromString(base64.b64decode(value + "=" * (-len(value) % 4)))
    return name, json_format.MessageToDict(message)


def grpcurl_detail(detail):
    """grpcurl knows the types of google.rpc and prints them in JSON, their name in "@type"."""
    return detail.pop("@type").split(".")[-1], detail


def code_name(code):
    """buf says "not_found", grpcurl says 5."""
    if isinstance(code, str):
        return code.upper()
    return {3: "INVALID_ARGUMENT", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 9: "FAILED_PRECONDITION",
            10: "ABORTED", 11: "OUT_OF_RANGE"}[code]


day.spend(call, "BUF/2" if IS_BUF else "GRPCURL/2")
