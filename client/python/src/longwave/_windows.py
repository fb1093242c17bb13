"""encode_iter without input and output: what to read, what to send, what can be yielded."""

from __future__ import annotations

from collections.abc import Iterator

from longwave._decode import ListSink
from longwave._inputs import Prepared
from longwave._job import EncodeJob
from longwave._options import Options
from longwave.results import Item, ModelInfo


class Windows:
    """Elements become requests in their order, each of as many as fill one."""

    def __init__(self, model: ModelInfo, options: Options) -> None:
        self.model = model
        self.next_index = 0  # of the element that is to be read next
        self.last_tokens = 0  # of the element that was read last; 1 of one that has none
        self._sink = ListSink(options.many_rows)
        self.job = EncodeJob(options, model, self._sink, keep_going=True)
        self._options = options
        self._ended = False
        self._window = Prepared([])
        self._window_tokens = 0
        self._next_yield = 0
        self._held: dict[int, int] = {}  # tokens of what has been read and not yielded
        self._held_tokens = 0
        self._bound = options.max_in_flight * self.job.batch_tokens

    @property
    def wants_more(self) -> bool:
        """Whether another element is to be read: not beyond what can be sent."""
        room = self._held_tokens < self._bound and not self.job.waiting
        return room and not self._ended

    @property
    def finished(self) -> bool:
        return self._ended and self._next_yield == self.next_index

    def push(self, prepared: Prepared) -> None:
        """Takes the next element."""
        (ids,) = prepared.sequences
        tokens = 1 if isinstance(ids, Exception) else len(ids)
        if self._window_tokens + tokens > self.job.batch_tokens:
            self.flush()
        self._window.sequences.append(ids)
        self._window.fingerprint = self._window.fingerprint or prepared.fingerprint
        self._window_tokens += tokens
        self.last_tokens = tokens
        self._held[self.next_index] = tokens
        self._held_tokens += tokens
        self.next_index += 1
        full = len(self._window.sequences) == self._options.batch_size
        if full or self._window_tokens >= self.job.batch_tokens:
            self.flush()

    def end(self) -> None:
        """There are no more elements."""
        self._ended = True
        self.flush()

    def flush(self) -> None:
        """Makes requests of what has been read so far."""
        if self._window.sequences:
            first = self.next_index - len(self._window.sequences)
            self.job.add(self._window, first=first, in_order=True)
            self._window = Prepared([])
            self._window_tokens = 0

    def ready(self) -> Iterator[Item]:
        """What can be yielded, in order."""
        while self._next_yield < self.next_index:
            index = self._next_yield
            error = self.job.errors.pop(index, None)
            tokens = self.job.tokens.pop(index, None)
            if error is None and tokens is None:
                return
            self._next_yield += 1
            self._held_tokens -= self._held.pop(index)
            yield Item(index, self._sink.take(index), error, tokens or 0)
