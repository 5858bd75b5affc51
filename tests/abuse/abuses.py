"""What a client can do to a bank by HTTP/2 and by gRPC's frames, and how each of it ends.

Every function here is one abuse, named by the first line of its text. It makes a connection, or many, and
comes back when these have ended as they should.
"""

import itertools
import random
import select
import zlib

from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame,
)

from wire import FRAME, PREFACE, WINDOW, Connection, call_headers, data, field, frame, message

CALM = "ENHANCE_YOUR_CALM"
BALANCE = message(field(1, "alice"))
# A page of a thousand transactions.
STATEMENT = message(field(1, "alice") + field(2, 1000))
WATCH = message(b"")

CANCEL = int(ErrorCodes.CANCEL)

# How many calls a connection may have open, and how large a message may be.
STREAMS, MESSAGE = 100, 16 << 20


def equal(came, expected):
    assert came == expected, f"{came} instead of {expected}"


def one_of(came, expected):
    assert came in expected, f"{came} instead of one of {expected}"


def odd(count, first=1):
    """The numbers of so many streams of a client."""
    return range(first, first + 2 * count, 2)


# --- Calls and their headers.


def rapid_reset(address):
    """calls that are taken back as soon as they are made"""
    with Connection(address) as connection:
        connection.flood(
            connection.call(stream, "GetBalance", BALANCE) + RstStreamFrame(stream, error_code=CANCEL).serialize()
            for stream in odd(10_000)
        )
        equal(connection.end(), CALM)


def made_reset(address):
    """calls that the bank is made to take back, by priorities that go round in a circle"""
    with Connection(address) as connection:
        connection.flood(
            connection.call(stream, "GetBalance", BALANCE) + PriorityFrame(stream, depends_on=stream).serialize()
            for stream in odd(40_000)
        )
        one_of(connection.end(), (CALM, "FLOW_CONTROL_ERROR"))


def more_streams(address):
    """more calls at once than there may be"""
    with Connection(address) as connection:
        streams = odd(STREAMS + 1)
        connection.flood(connection.call(stream, "WatchTransactions", WATCH) for stream in streams)
        equal(connection.outcome(streams[-1]), "RESET REFUSED_STREAM")
        connection.flood(
            connection.call(stream, "WatchTransactions", WATCH) for stream in odd(40_000, streams[-1] + 2)
        )
        equal(connection.end(), CALM)


def continuations(address):
    """headers that never end, in parts that say nothing, little or much"""
    for part in (b"", b"\x88", bytes(FRAME)):
        with Connection(address) as connection:
            begun = HeadersFrame(1, connection.encoder.encode(call_headers("GetBalance"))).serialize()
            more = ContinuationFrame(1, part).serialize()
            connection.flood(itertools.chain([begun], itertools.repeat(more, 10_000)))
            one_of(connection.end(), (CALM, "COMPRESSION_ERROR", "PROTOCOL_ERROR"))


def large_headers(address):
    """headers that are larger than they may be"""
    with Connection(address) as connection:
        connection.send(connection.call(1, "GetBalance", BALANCE, x_large="x" * 20_000))
        equal(connection.outcome(1), "HTTP 431")
        connection.send(connection.call(3, "GetBalance", BALANCE))
        equal(connection.outcome(3), "OK")
    with Connection(address) as connection:
        connection.send(connection.call(1, "GetBalance", BALANCE, **{f"x_{n}": "x" * 8000 for n in range(40)}))
        one_of(connection.end(), (CALM, "COMPRESSION_ERROR"))


def packed_headers(address):
    """headers of a few bytes that unfold to megabytes"""
    with Connection(address) as connection:
        fields = [*call_headers("GetBalance"), *[("x-large", "x" * 3000)] * 10_000]
        connection.send(connection.headers(1, fields, end=True))
        equal(connection.end(), CALM)


def odd_calls(address):
    """calls that are none, or not of this bank"""
    cases = [
        ({":path": "/"}, "UNIMPLEMENTED"),
        ({":path": "//"}, "UNIMPLEMENTED"),
        ({":path": "/bank.v1.BankService"}, "UNIMPLEMENTED"),
        ({":path": "/bank.v1.BankService/"}, "UNIMPLEMENTED"),
        ({":path": "/bank.v1.BankService/GetBalance/"}, "UNIMPLEMENTED"),
        ({":path": "/bank.v1.BankService/../../etc/passwd"}, "UNIMPLEMENTED"),
        ({":path": "/bank.v1.BankService/" + "x" * 8000}, "UNIMPLEMENTED"),
        ({":path": "*"}, "UNIMPLEMENTED"),
        ({":path": ""}, "RESET PROTOCOL_ERROR"),
        ({":path": None}, "RESET PROTOCOL_ERROR"),
        ({":path": "\0"}, "RESET PROTOCOL_ERROR"),
        ({":method": "GET"}, "HTTP 405"),
        ({":method": "CONNECT"}, "RESET PROTOCOL_ERROR"),
        ({":scheme": None}, "RESET PROTOCOL_ERROR"),
        ({"content-type": None}, "HTTP 415"),
        ({"content-type": "text/plain"}, "HTTP 415"),
        ({"content-type": "application/grpc-web"}, "HTTP 415"),
        ({"content-type": "application/grpc+proto"}, "OK"),
        ({"content-length": "1"}, "RESET PROTOCOL_ERROR"),
        ({"connection": "close"}, "RESET PROTOCOL_ERROR"),
        ({"te": "gzip"}, "RESET PROTOCOL_ERROR"),
        ({":status": "200"}, "RESET PROTOCOL_ERROR"),
        ({"grpc-timeout": "soon"}, "INVALID_ARGUMENT"),
        ({"grpc-timeout": "0n"}, "DEADLINE_EXCEEDED"),
        ({"grpc-encoding": "lzma"}, "UNIMPLEMENTED"),
        ({}, "OK"),
    ]
    streams = odd(len(cases))
    with Connection(address) as connection:
        for stream, (changes, _) in zip(streams, cases):
            connection.send(connection.call(stream, "GetBalance", BALANCE, **changes))
        came = connection.outcomes(streams)
        wrong = [(changes, outcome) for (changes, expected), outcome in zip(cases, came) if outcome != expected]
        equal(wrong, [])
    for changes in ({"UPPER": "case"}, {"x": "a\r\nb"}, {"": "nameless"}):
        with Connection(address) as connection:
            connection.send(connection.call(1, "GetBalance", BALANCE, **changes))
            one_of(connection.outcome(1), ("RESET PROTOCOL_ERROR", "CONNECTION PROTOCOL_ERROR"))


# --- Bodies and their messages.


def empty_data(address):
    """a body of frames that are empty"""
    with Connection(address) as connection:
        connection.send(connection.call(1, "Deposit", end=False))
        connection.flood(itertools.repeat(data(1) * 1000, 200))
        equal(connection.end(), CALM)


def empty_data_of_a_pipe(address):
    """the same, of a call that may take as long as it likes"""
    with Connection(address) as connection:
        connection.send(connection.call(1, "ExecuteStream", end=False))
        connection.flood(itertools.repeat(data(1) * 1000, 200))
        equal(connection.end(), CALM)


def data_by_the_byte(address):
    """bodies that come byte by byte, to calls whose answers nobody takes"""
    with Connection(address, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as connection:
        operation = message(field(1, field(1, field(2, "alice"))))
        block = b"".join(data(1, bytes([byte])) for byte in operation)
        connection.send(connection.call(1, "ExecuteStream", end=False))
        connection.flood(itertools.repeat(block * 10, 4000))
        one_of(connection.end(), (CALM, "FLOW_CONTROL_ERROR"))


def slow_body(address):
    """a body that takes its time, with a sign of life now and then"""
    with Connection(address) as connection:
        connection.send(connection.call(1, "Deposit", message(b"", length=60_000), end=False))
        connection.drip = data(1, b"\0")
        equal(connection.outcome(1), "DEADLINE_EXCEEDED")
        equal(connection.end(), "NO_ERROR")


def great_lengths(address):
    """messages that are said to be larger than what comes of them"""
    with Connection(address) as connection:
        streams = odd(STREAMS)
        body = message(b"\x0a", length=MESSAGE)
        connection.flood(connection.call(stream, "ExecuteBatch", body, end=False) for stream in streams)
        equal(set(connection.outcomes(streams)), {"DEADLINE_EXCEEDED"})
        equal(connection.end(), "NO_ERROR")
    with Connection(address) as connection:
        streams = odd(STREAMS)
        for stream, length in zip(streams, itertools.cycle([MESSAGE + 1, (1 << 31) - 1, (1 << 32) - 1])):
            connection.send(connection.call(stream, "ExecuteBatch", message(b"\x0a", length=length), end=False))
        equal(set(connection.outcomes(streams)), {"INVALID_ARGUMENT"})


def broken_messages(address):
    """messages that are cut off, or have no form"""
    bodies = [
        b"", b"\0", b"\0\0\0", BALANCE[:-1], message(b"", length=7), message(b"\xff" * 20), message(b"\x0a\x7f"),
        b"\7" + BALANCE[1:], message(b"\x0a\5alice", packed=True), message(field(1, b"\xff\xfe")),
    ]
    with Connection(address) as connection:
        streams = odd(len(bodies))
        for stream, body in zip(streams, bodies):
            connection.send(connection.call(stream, "GetBalance", body) if body else
                            connection.call(stream, "GetBalance"))
        equal(connection.outcomes(streams), ["INVALID_ARGUMENT"] * len(bodies))


def bombs(address):
    """messages of some kilobytes that unfold to a gigabyte"""
    # As much as may be sent before the bank has opened its window further.
    packer = zlib.compressobj(wbits=31)
    gzip = b"".join(packer.compress(bytes(1 << 20)) for _ in range(60)) + packer.flush()
    # A window of 8 MiB, and blocks of one byte each that say it 128 Ki times.
    block = (1 << 1 | (1 << 17) << 3).to_bytes(3, "little") + b"\0"
    zstd = b"\x28\xb5\x2f\xfd\0\x68" + block * 8191 + bytes([block[0] | 1]) + block[1:]
    # The largest window that a decoder takes unless told otherwise, and the largest that there is.
    windows = [b"\x28\xb5\x2f\xfd\0" + bytes([window]) + block * 1000 for window in (0x88, 0xff)]
    cases = [("gzip", gzip), *(("zstd", packed) for packed in (zstd, *windows))]
    for method in ("ExecuteBatch", "Deposit", "ExecuteStream"):
        for encoding, packed in cases:
            with Connection(address) as connection:
                body = message(packed, packed=True)
                connection.send(connection.call(1, method, body, grpc_encoding=encoding))
                # Many at once may be more than there is room for.
                one_of(connection.outcome(1), ("INVALID_ARGUMENT", "UNAVAILABLE"))


# --- Answers.


def closed_window(address):
    """answers that the client asks for and doesn't let come"""
    with Connection(address, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as connection:
        streams = odd(STREAMS)
        for stream, method in zip(streams, itertools.cycle(["ListTransactions", "WatchTransactions"])):
            body = STATEMENT if method == "ListTransactions" else WATCH
            connection.send(connection.call(stream, method, body))
        came = set(connection.outcomes(streams))
        assert came <= {"RESET CANCEL", "UNAVAILABLE"} and "RESET CANCEL" in came, came
        equal(connection.end(), "NO_ERROR")


def small_window(address):
    """an answer that the client takes byte by byte"""
    with Connection(address, {SettingsFrame.INITIAL_WINDOW_SIZE: 1}) as connection:
        connection.send(connection.call(1, "ListTransactions", STATEMENT))
        connection.drip = WindowUpdateFrame(1, window_increment=1).serialize()
        # It is given up; a piece of it may stay in the way of the word for that.
        one_of(connection.outcome(1), ("RESET CANCEL", "CONNECTION NO_ERROR"))


def unread_answers(address):
    """answers that the client lets come and doesn't read"""
    with Connection(address, {SettingsFrame.INITIAL_WINDOW_SIZE: WINDOW}) as connection:
        connection.send(WindowUpdateFrame(0, window_increment=WINDOW - 65_535).serialize())
        connection.flood((connection.call(stream, "ListTransactions", STATEMENT) for stream in odd(STREAMS)), reads=False)
        is_closed = connection.flood(itertools.repeat(PING * 1000, 1000), reads=False)
        assert is_closed, "it goes on"


# --- Frames that need no call.

PING = PingFrame(0, opaque_data=bytes(8)).serialize()
CHANGES = b"".join(
    SettingsFrame(0, settings={
        SettingsFrame.HEADER_TABLE_SIZE: size, SettingsFrame.INITIAL_WINDOW_SIZE: size,
        SettingsFrame.MAX_CONCURRENT_STREAMS: size % 7, SettingsFrame.MAX_FRAME_SIZE: FRAME + size % 1000,
    }).serialize()
    for size in (0, WINDOW, 1, 65_535)
)


def pings(address):
    """pings without end"""
    with Connection(address) as connection:
        connection.flood(itertools.repeat(PING * 1000, 100))
        equal(connection.end(), "NO_ERROR")


def unread_pings(address):
    """pings whose answers nobody reads"""
    with Connection(address) as connection:
        assert connection.flood(itertools.repeat(PING * 1000, 10_000), reads=False), "it goes on"


def settings(address):
    """settings that change again and again"""
    with Connection(address) as connection:
        connection.flood(itertools.repeat(CHANGES * 100, 100))
        equal(connection.end(), "NO_ERROR")


def settings_of_open_calls(address):
    """settings that move the windows of all calls that are open"""
    with Connection(address) as connection:
        connection.flood(connection.call(stream, "WatchTransactions", WATCH) for stream in odd(STREAMS))
        connection.flood(itertools.repeat(CHANGES * 100, 20))
        one_of(connection.end(), ("NO_ERROR", "FLOW_CONTROL_ERROR"))


def unread_settings(address):
    """settings whose answers nobody reads"""
    with Connection(address) as connection:
        assert connection.flood(itertools.repeat(CHANGES * 100, 10_000), reads=False), "it goes on"


def priorities(address):
    """priorities of calls that there are not"""
    with Connection(address) as connection:
        block = b"".join(PriorityFrame(stream, depends_on=stream + 2).serialize() for stream in odd(1000))
        connection.flood(itertools.repeat(block, 100))
        equal(connection.end(), "NO_ERROR")
    with Connection(address) as connection:
        block = b"".join(PriorityFrame(stream, depends_on=stream).serialize() for stream in odd(1000))
        connection.flood(itertools.repeat(block, 100))
        one_of(connection.end(), (CALM, "PROTOCOL_ERROR"))


def unknown_frames(address):
    """frames of kinds that there are not"""
    with Connection(address) as connection:
        connection.flood(itertools.repeat(frame(0xEE, 0xFF, 1, bytes(100)) * 100, 100))
        equal(connection.end(), "NO_ERROR")


def windows(address):
    """windows that are opened too far, or by nothing"""
    for stream, increment, expected in (
        (0, WINDOW, "CONNECTION FLOW_CONTROL_ERROR"),
        (0, 0, "CONNECTION PROTOCOL_ERROR"),
        (1, WINDOW, "RESET FLOW_CONTROL_ERROR"),
        (1, 0, "CONNECTION PROTOCOL_ERROR"),
    ):
        with Connection(address) as connection:
            update = frame(8, 0, stream, increment.to_bytes(4, "big"))
            connection.send(connection.call(1, "WatchTransactions", WATCH) + update)
            equal(connection.outcome(1), expected)


BROKEN = ("PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR", "COMPRESSION_ERROR", "STREAM_CLOSED")


def broken_frames(address):
    """frames that break the rules"""
    for frames in (
        frame(0, 0, 0, b"x"),
        frame(0, 0, 1, b"x"),
        frame(0, 8, 1, b"\xff"),
        frame(1, 4, 0, b"\x82"),
        frame(1, 4, 2, b"\x82"),
        frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(1, 0, 1, b"\x82") + frame(6, 0, 0, bytes(8)),
        frame(1, 0, 1, b"\x82") + frame(9, 4, 3, b"\x82"),
        frame(2, 0, 0, bytes(5)),
        frame(3, 0, 0, bytes(4)),
        frame(3, 0, 1, bytes(4)),
        frame(3, 0, 1, bytes(3)),
        frame(4, 0, 1),
        frame(4, 0, 0, bytes(5)),
        frame(4, 1, 0, bytes(6)),
        frame(4, 0, 0, bytes([0, 4, 255, 255, 255, 255])),
        frame(4, 0, 0, bytes([0, 5, 0, 0, 0, 1])),
        frame(5, 4, 1, bytes([0, 0, 0, 2, 0x82])),
        frame(6, 0, 1, bytes(8)),
        frame(6, 0, 0, bytes(7)),
        frame(7, 0, 1, bytes(8)),
        frame(8, 0, 0, bytes(3)),
        frame(9, 4, 1, b"\x82"),
        frame(0, 0, 1, bytes(FRAME + 1)),
        frame(6, 0, 0, length=(1 << 24) - 1),
    ):
        with Connection(address) as connection:
            connection.send(frames)
            came = connection.end()
            assert came in BROKEN, f"{frames[:40].hex()} ends with {came}"


def noise(address):
    """frames of random kinds with random content"""
    chance = random.Random(2026)
    for _ in range(50):
        with Connection(address) as connection:
            connection.flood(
                frame(chance.randrange(11), chance.randrange(256), chance.randrange(8), chance.randbytes(chance.randrange(40)))
                for _ in range(100)
            )
            one_of(connection.end(), (*BROKEN, CALM, "NO_ERROR", "CLOSED"))


# --- Connections that come to nothing.


def half_a_frame(address):
    """a frame that is begun and never ended"""
    with Connection(address) as connection:
        connection.send(frame(1, 4, 1, b"\x82", length=FRAME))
        equal(connection.end(), "NO_ERROR")


def silence(address):
    """connections, in hundreds, that say nothing or half of what they should"""
    greeting = PREFACE + SettingsFrame().serialize()
    lengths = [0, 1, len(PREFACE) - 1, len(PREFACE), len(greeting) - 1]
    connections = [
        Connection(address, greeting=greeting[:length]) for length in itertools.islice(itertools.cycle(lengths), 300)
    ]
    for connection in connections:
        with connection:
            equal(connection.end(), "CLOSED")


def another_protocol(address):
    """connections that speak something else"""
    for greeting in (b"GET / HTTP/1.1\r\nHost: bank\r\n\r\n", b"\x16\x03\x01\2\0\1\0\1\xfc", bytes(100), PREFACE * 2):
        with Connection(address, greeting=greeting) as connection:
            equal(connection.end(), "CLOSED")


ABUSES = (
    rapid_reset, made_reset, more_streams, continuations, large_headers, packed_headers, odd_calls,
    empty_data, empty_data_of_a_pipe, data_by_the_byte, slow_body, great_lengths, broken_messages, bombs,
    closed_window, small_window, unread_answers,
    pings, unread_pings, settings, settings_of_open_calls, unread_settings, priorities, unknown_frames, windows,
    broken_frames, noise, half_a_frame, silence, another_protocol,
)
