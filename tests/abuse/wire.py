"""HTTP/2 without a library that minds its rules: every frame is sent as it is, right or wrong."""

import select
import socket

import hpack
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame,
)

# A limit only so that a hang fails instead of hanging.
PATIENCE = 30
DRIP_INTERVAL = 0.05
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# The head of a frame, the largest frame that may be sent, the largest window.
HEAD, FRAME, WINDOW = 9, 1 << 14, (1 << 31) - 1
SERVICE = "/bank.v1.BankService/"

# The codes of gRPC by their numbers.
CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE "
    "DATA_LOSS UNAUTHENTICATED"
).split()


def frame(kind, flags, stream, payload=b"", length=None):
    """A frame of any kind, whatever its length says."""
    length = len(payload) if length is None else length
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def data(stream, payload=b"", end=False):
    return DataFrame(stream, payload, flags=["END_STREAM"] if end else []).serialize()


def message(payload, packed=False, length=None):
    """A message as gRPC has it: whether it is packed, its length, and what it says."""
    length = len(payload) if length is None else length
    return bytes([packed]) + length.to_bytes(4, "big") + payload


def varint(number):
    """A number as protobuf has it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """A field of protobuf: a number, a text, or the bytes of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def call_headers(method, **changes):
    """The headers of a call, with others in their place; None takes one out."""
    headers = {
        ":method": "POST", ":scheme": "http", ":path": SERVICE + method, ":authority": "bank",
        "content-type": "application/grpc", "te": "trailers",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return [(name, value) for name, value in headers.items() if value is not None]


class Connection:
    """A connection on which nothing happens by itself."""

    def __init__(self, address, settings=None, greeting=None):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.came = bytearray()
        # What is sent whenever nothing has come for a while.
        self.drip = b""
        # The last code by which the bank has told that the connection ends.
        self.told = "CLOSED"
        if greeting is None:
            greeting = PREFACE + SettingsFrame(settings=settings or {}).serialize()
        self.socket.sendall(greeting)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def headers(self, stream, fields, end=False):
        """The frames of a list of headers."""
        block = self.encoder.encode(fields, huffman=False)
        parts = [block[start:start + FRAME] for start in range(0, len(block), FRAME)]
        flags = ["END_STREAM"] if end else []
        first = HeadersFrame(stream, parts[0], flags=flags)
        frames = [first, *(ContinuationFrame(stream, part) for part in parts[1:])]
        frames[-1].flags.add("END_HEADERS")
        return b"".join(one.serialize() for one in frames)

    def call(self, stream, method, body=b"", end=True, **changes):
        """The frames of a call, of which the body is sent as far as it is given."""
        parts = [body[start:start + FRAME] for start in range(0, len(body), FRAME)]
        frames = [self.headers(stream, call_headers(method, **changes), end=end and not parts)]
        frames += [data(stream, part) for part in parts[:-1]]
        frames += [data(stream, part, end) for part in parts[-1:]]
        return b"".join(frames)

    def send(self, frames):
        """Sends frames, unless the bank has closed the connection."""
        try:
            self.socket.sendall(frames)
        except ConnectionError:
            pass

    def flood(self, blocks, reads=True):
        """Sends blocks of frames as fast as the bank takes them, until there are no more or it has closed the
        connection: whether it has. What comes meanwhile is taken, unless it is not to be read, and fills up
        the buffers of TCP."""
        self.socket.setblocking(False)
        try:
            for block in blocks:
                rest = memoryview(block)
                while rest:
                    ready, free, _ = select.select([self.socket] if reads else [], [self.socket], [], PATIENCE)
                    if not ready and not free:
                        raise TimeoutError("the bank neither takes anything nor ends the connection")
                    if ready:
                        part = self.socket.recv(1 << 16)
                        if not part:
                            return True
                        self.came += part
                    if free:
                        rest = rest[self.socket.send(rest):]
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    def frames(self):
        """What comes, frame by frame, until the bank closes the connection."""
        while True:
            while len(self.came) >= HEAD:
                one, length = Frame.parse_frame_header(memoryview(bytes(self.came[:HEAD])))
                if len(self.came) < HEAD + length:
                    break
                one.parse_body(memoryview(bytes(self.came[HEAD:HEAD + length])))
                del self.came[:HEAD + length]
                if isinstance(one, HeadersFrame):
                    one.fields = dict(self.decoder.decode(one.data))
                if isinstance(one, GoAwayFrame):
                    self.told = ErrorCodes(one.error_code).name
                yield one
            part = self.receive()
            if not part:
                return
            self.came += part

    def receive(self):
        """What comes next; nothing when the bank has closed the connection."""
        drips = int(PATIENCE / DRIP_INTERVAL)
        while self.drip and drips and not select.select([self.socket], [], [], DRIP_INTERVAL)[0]:
            self.send(self.drip)
            drips -= 1
        try:
            return self.socket.recv(1 << 16)
        except ConnectionError:
            return b""

    def end(self):
        """Waits until the bank has closed the connection: the last code that it told, or that it told none."""
        for _ in self.frames():
            pass
        return self.told

    def outcomes(self, streams):
        """Waits until each of these streams has ended: with a status of gRPC or HTTP, or the code of a reset."""
        open_streams, found = set(streams), {}
        for one in self.frames():
            if one.stream_id not in open_streams:
                continue
            if isinstance(one, RstStreamFrame):
                found[one.stream_id] = f"RESET {ErrorCodes(one.error_code).name}"
            elif isinstance(one, HeadersFrame) and one.fields.get(":status", "200") != "200":
                found[one.stream_id] = f"HTTP {one.fields[':status']}"
            elif isinstance(one, HeadersFrame) and "grpc-status" in one.fields:
                found[one.stream_id] = CODES[int(one.fields["grpc-status"])]
            else:
                continue
            open_streams.remove(one.stream_id)
            if not open_streams:
                break
        return [found.get(stream, f"CONNECTION {self.told}") for stream in streams]

    def outcome(self, stream):
        return self.outcomes([stream])[0]
