"""What only asyncio can ask for: cancelled tasks, concurrent calls, asynchronous sources."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading

import fake_rows
import grpc
import longwave
import numpy as np
import pytest
import scripted as script
from longwave._asyncio import AsyncCalls
from servers import await_true


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_calls_at_the_same_time(fake_server):
    async def main():
        async with longwave.AsyncClient(fake_server.address) as client:
            texts = [f"text {n}" for n in range(50)]
            vectors = await asyncio.gather(*(client.encode(text) for text in texts))
            for text, vector in zip(texts, vectors):
                assert np.array_equal(vector, fake_rows.row(list(text.encode())))

    run(main())


class HeldTokenizer(longwave.ByteTokenizer):
    """Takes until somebody says so."""

    def __init__(self):
        super().__init__(fingerprint="")
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def encode_batch(self, texts):
        self.begun.set()
        assert self.may_end.wait(60)
        return super().encode_batch(texts)


@pytest.mark.parametrize(
    "call", ["encode", "encode_list", "encode_iter", "stream_rows", "estimate", "estimate_list"]
)
def test_the_event_loop_goes_on_while_a_long_text_is_tokenized(fake_server, call):
    tokenizer = HeldTokenizer()

    async def first(iterator):
        async with contextlib.aclosing(iterator):
            return await anext(iterator)

    async def main():
        async with longwave.AsyncClient(fake_server.address, tokenizer=tokenizer) as client:
            text = "x" * 10_000
            calls = {
                "encode": lambda: client.encode(text),
                "encode_list": lambda: client.encode(part for part in [text, "y"]),
                "encode_iter": lambda: first(client.encode_iter([text])),
                "stream_rows": lambda: first(client.stream_rows(text)),
                "estimate": lambda: client.estimate(text),
                "estimate_list": lambda: client.estimate(part for part in [text, "y"]),
            }
            assert (await client.estimate(9)).tokens == (await client.estimate([5, 4])).tokens
            task = asyncio.ensure_future(calls[call]())
            await asyncio.to_thread(tokenizer.begun.wait, 60)
            assert await client.health()  # were the loop held up, this would wait for itself
            assert not task.done()
            tokenizer.may_end.set()
            return await task

    assert run(main()) is not None


@pytest.mark.parametrize("call", ["encode", "encode_list", "encode_long", "stream_rows"])
def test_cancelling_a_task_cancels_the_servers_call(start_fake, call):
    server = start_fake("--max_wait=1000", base_seconds="0", seconds_per_token="0.0002")
    started = "longwave_requests_started_total"

    async def main():
        async with longwave.AsyncClient(server.address, timeout=None) as client:
            await client.info()
            before = server.metric(started)
            calls = {
                "encode": lambda: client.encode("x" * 20_000),
                "encode_list": lambda: client.encode(["x" * 20_000] * 3),
                "encode_long": lambda: client.encode(["x" * 140_000, "y" * 140_000]),
                "stream_rows": lambda: anext(client.stream_rows("x" * 140_000)),
            }
            task = asyncio.ensure_future(calls[call]())
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(
                None, server.await_metric, started, lambda value: value > before
            )
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())
    server.await_metric("longwave_requests_cancelled_total", lambda value: value >= 1)
    await_true(
        lambda: server.metric(started) == server.metric("longwave_requests_total"),
        "a request is still in flight",
    )


def test_one_client_in_one_loop_after_the_other(fake_server):
    client = longwave.AsyncClient(fake_server.address)
    for _ in range(2):
        assert run(client.encode("hello")).shape == (16,)
        assert len(run(client.encode_tokens(["hello"], layers=[0, 1, 2]))) == 1
    run(client.close())
    with pytest.raises(longwave.Cancelled):
        run(client.encode("hello"))


def test_a_source_that_pauses_holds_nothing_back(fake_server):
    """Each element is sent although it fills no request, since the source waits for its vector."""

    async def main():
        async with longwave.AsyncClient(fake_server.address) as client:
            answered = asyncio.Queue()

            async def source():
                for n in range(5):
                    yield f"text {n}"
                    await answered.get()

            indices = []
            async for item in client.encode_iter(source()):
                indices.append(item.index)
                answered.put_nowait(None)
            assert indices == list(range(5))

    run(main())


def test_an_asynchronous_source_is_left_cleanly(fake_server):
    closed = []

    async def source():
        try:
            for n in itertools.count():
                yield f"text {n}"
                await asyncio.sleep(0)
        finally:
            closed.append(True)

    async def main():
        async with longwave.AsyncClient(fake_server.address, batch_tokens=20) as client:
            elements = source()
            async with contextlib.aclosing(client.encode_iter(elements)) as items:
                async for item in items:
                    if item.index == 30:
                        break
            await elements.aclose()

    run(main())
    assert closed == [True]


def test_nothing_from_an_asynchronous_source_is_a_type_error(fake_server):
    async def source():
        for value in ["a", None, "b"]:
            yield value

    async def main():
        async with longwave.AsyncClient(fake_server.address) as client:
            return [item.index async for item in client.encode_iter(source())]

    with pytest.raises(TypeError, match="sequence 1"):
        run(main())


def test_an_element_that_cannot_be_sent_yet_does_not_keep_the_loop_busy(scripted, monkeypatch):
    """The server is full after the first request, and the source goes on all the same."""
    may_answer, refused = threading.Event(), threading.Event()
    takes = 0
    waits_again = asyncio.Event()
    take = AsyncCalls.take

    async def counted(self, other=None):
        nonlocal takes
        takes += 1
        if takes == 2:
            waits_again.set()
        await take(self, other)

    monkeypatch.setattr(AsyncCalls, "take", counted)

    def encode(request, context):
        if request.tokens.ids == b"first":
            assert may_answer.wait(60)
        elif not may_answer.is_set():
            refused.set()
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            script.refuse(context, code, reason="QUEUE_FULL", retry_after=0.001)
        return script.reply(request)

    scripted.encode = encode

    async def main():
        go_on = asyncio.Event()

        async def source():
            yield "first"
            yield "second"
            await go_on.wait()
            yield "third"

        async def collect(client):
            return [item.index async for item in client.encode_iter(source(), batch_size=1)]

        async with longwave.AsyncClient(scripted.address, service_config="{}") as client:
            task = asyncio.ensure_future(collect(client))
            await asyncio.to_thread(refused.wait, 60)
            await waits_again.wait()  # the refusal is known: now only the first answer can help
            go_on.set()
            for _ in range(1000):
                await asyncio.sleep(0)
            # One for each element, the end, the refusal and what comes between, in whatever order;
            # a loop that is kept busy makes one at every turn.
            assert takes <= 20
            may_answer.set()
            assert await task == [0, 1, 2]

    run(main())


def test_a_plain_iterable_lets_other_tasks_have_their_turn(fake_server):
    async def main():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with longwave.AsyncClient(fake_server.address) as client:
            await client.info()
            seen = []

            def source():
                for _ in range(100):
                    seen.append(turns)
                    yield "x" * 1000

            beside = asyncio.ensure_future(other())
            async with contextlib.aclosing(client.encode_iter(source())) as items:
                await anext(items)
            beside.cancel()
            # 32 elements fill the first request: while they are read, others run all the same.
            assert seen[30] > seen[0]

    run(main())


def test_refused_streams_leave_no_task_behind(scripted):
    def stream(messages, context):
        next(messages)
        script.refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="DEADLINE_UNMEETABLE")
        yield

    scripted.encode_stream = stream

    async def main():
        own = asyncio.all_tasks()
        async with longwave.AsyncClient(scripted.address) as client:
            for _ in range(3):
                with pytest.raises(longwave.ResourceExhausted):
                    await anext(client.stream_rows("hello"))
            others = asyncio.all_tasks() - own
            if others:  # what ends needs a turn or two
                _, others = await asyncio.wait(others, timeout=10)
            assert not others

    run(main())


def test_threads_for_callers_that_left_are_few(fake_server):
    """They cannot be stopped, and hold their texts; what waits for one is gone at once."""
    tokenizer = HeldTokenizer()
    begun = []
    texts = [letter * 10_000 for letter in "abcdefghij"]
    held = tokenizer.encode_batch
    four = threading.Semaphore(0)

    def encode_batch(given):
        begun.append(given[0][0])
        four.release()
        return held(given)

    tokenizer.encode_batch = encode_batch

    async def main():
        async with longwave.AsyncClient(fake_server.address, tokenizer=tokenizer) as client:
            await client.info()
            tasks = [asyncio.ensure_future(client.encode(text)) for text in texts]
            for _ in range(4):
                await asyncio.to_thread(four.acquire, timeout=60)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            last = asyncio.ensure_future(client.encode("z" * 10_000))
            for _ in range(20):
                await client.health()
            seen = list(begun)
            tokenizer.may_end.set()
            assert seen == list("abcd")  # the last one waits for a thread, too
            assert all(task.cancelled() for task in tasks)
            assert (await last).shape == (16,)
            assert begun == list("abcdz")

    run(main())


def test_an_error_of_an_asynchronous_source_reaches_the_caller(fake_server):
    async def source():
        yield "a"
        raise RuntimeError("the source broke")

    async def main():
        async with longwave.AsyncClient(fake_server.address) as client:
            async for _ in client.encode_iter(source()):
                pass

    with pytest.raises(RuntimeError, match="the source broke"):
        run(main())


@pytest.mark.parametrize("call", ["encode", "encode_list", "stream_rows"])
def test_closing_ends_what_is_under_way(scripted, call):
    async def main():
        loop = asyncio.get_running_loop()
        under_way, over = asyncio.Event(), scripted.over

        def encode(request, context):
            context.add_callback(over.set)
            loop.call_soon_threadsafe(under_way.set)
            over.wait(60)
            return script.reply(request)

        def stream(messages, context):
            answer = script.StreamScript(next(messages))
            context.add_callback(over.set)
            yield answer.accepted()
            loop.call_soon_threadsafe(under_way.set)
            over.wait(60)

        scripted.encode, scripted.encode_stream = encode, stream
        client = longwave.AsyncClient(scripted.address, batch_tokens=4)
        calls = {
            "encode": lambda: client.encode("abcd"),
            "encode_list": lambda: client.encode(["abcd"] * 10),
            "stream_rows": lambda: anext(client.stream_rows("abcd")),
        }
        task = asyncio.ensure_future(calls[call]())
        await under_way.wait()
        await client.close()
        with pytest.raises(longwave.Cancelled):
            await task

    run(main())


def test_other_tasks_run_meanwhile(scripted):
    may_answer = threading.Event()

    def encode(request, context):
        assert may_answer.wait(60)
        return script.reply(request)

    scripted.encode = encode

    async def main():
        async with longwave.AsyncClient(scripted.address) as client:
            task = asyncio.ensure_future(client.encode("hello"))
            await client.info()  # were the loop held up, nobody would let the server answer
            assert not task.done()
            may_answer.set()
            assert (await task).shape == (2,)

    run(main())
