"""The clients that one component of a framework owns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from longwave.aio import AsyncClient
from longwave.client import Client


class Clients:
    """One blocking client, and one asynchronous client per event loop, each made when first needed.

    Frameworks make components in one thread, call them in others, and may run one event loop after
    another (`asyncio.run` twice); an asynchronous channel belongs to the loop it was made in. Safe
    from any thread. Pickles and copies without its connections, so a component may travel to
    another process.
    """

    def __init__(self, target: str, options: Mapping[str, Any]) -> None:
        """Connects to nothing yet.

        Args:
            target: address of the server.
            options: keyword arguments of Client and AsyncClient, a key among them; never shown.
        """
        self._target = target
        self._options = dict(options)
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._async_clients: dict[asyncio.AbstractEventLoop, AsyncClient] = {}

    def blocking(self) -> Client:
        """The client for blocking calls."""
        with self._lock:
            if self._client is None:
                self._client = Client(self._target, **self._options)
            return self._client

    def asynchronous(self) -> AsyncClient:
        """The client of the running event loop.

        Raises:
            RuntimeError: no event loop runs in this thread.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            # A loop that was closed can close nothing any more: its channel ends with the object.
            for other in [other for other in self._async_clients if other.is_closed()]:
                del self._async_clients[other]
            if loop not in self._async_clients:
                self._async_clients[loop] = AsyncClient(self._target, **self._options)
            return self._async_clients[loop]

    def close(self) -> None:
        """Closes the blocking client; the next call makes a new one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Closes the running event loop's client; the next call makes a new one."""
        with self._lock:
            client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def __repr__(self) -> str:
        return f"Clients({self._target!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Clients:
        return Clients(self._target, self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return Clients, (self._target, self._options)
