"""Callers who do not take what they asked for, beside others who notice nothing. Deadlines,
cancellation and floods: hostile/time_test.py and hostile/exposure_test.py."""

import os

from canary import Canary
from harness import PATIENCE, StreamCall, encode_pb2, request

# A sanitizer keeps what was freed: memory is then not the server's.
SANITIZED = bool(os.environ.get("LONGWAVE_SANITIZE"))


def test_slow_readers_hold_a_bounded_buffer_and_not_the_device(start_fake):
    server = start_fake("--max_stall=60", tokens_per_slice="20000", seconds_per_token="1e-7")
    server.stub().Encode(request([1]), timeout=PATIENCE)
    base, tags = server.resident_bytes(), 8
    # 64 MB of rows each, of which nobody takes more than a window.
    stream = StreamCall(server.stub(**{"grpc.http2.lookahead_bytes": 65536}))
    with Canary(server):
        for tag in range(1, tags + 1):
            stream.open(tag, [1 << 20], output={"pooling": encode_pb2.POOLING_NONE})
            stream.data(tag, bytes([tag]) * (1 << 20))
            stream.end(tag)
        server.await_metric("longwave_paused_jobs", lambda value: value == tags)
        # A tag's mistake is its own: the others' rows still come, in order.
        stream.data(99, b"1")
        # Per tag: ids as they arrive and as they are computed (4 MB each), the buffer (4 MB), and what
        # the allocator keeps of both; half of the rows, 512 MB altogether, at most.
        assert SANITIZED or server.resident_bytes() - base < 256 << 20
        stub = server.stub()
        for number in range(20):
            stub.Encode(request([number + 1] * 100), timeout=Canary.LIMIT)
        rows, failed = dict.fromkeys(range(1, tags + 1), 0), []
        for tag in range(3, tags + 1):
            stream.cancel_tag(tag)
        done = set()
        while done < {1, 2}:
            message = stream.read()
            if message.HasField("chunk"):
                assert message.chunk.first_row == rows[message.tag]
                rows[message.tag] += message.chunk.embeddings.rows
            elif message.HasField("done"):
                done.add(message.tag)
            elif message.HasField("failed"):
                failed.append((message.tag, message.failed.reason))
        assert rows[1] == rows[2] == 1 << 20
        assert (99, "PROTOCOL_VIOLATION") in failed
    stream.close()
    for gauge in ("queue_requests", "running_requests", "resident_bytes", "queue_tokens"):
        server.await_metric(f"longwave_{gauge}", lambda value: value == 0)
