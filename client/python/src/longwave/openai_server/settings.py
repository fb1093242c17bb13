"""What the sidecar can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from longwave import Tls, Tokenizer
from longwave._channel import is_loopback
from longwave.openai_server.intake import IntakeLimits


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        server: the gRPC target.
        tls: how to speak to it; None: plaintext.
        aliases: further names for whatever model it serves.
        tokenizer: None: the one that the model's kind stands for.
        timeout: seconds that a request's embeddings may take, also where its caller would wait
            longer. As the server's --max_deadline.
        forward_keys: whether callers' keys go with their calls.
        plaintext_keys: whether they may do so over a network without TLS.
        max_clients: keys and names of models whose connections are kept for the next request.
        limits: what requests may hold.
    """

    server: str = "127.0.0.1:50051"
    tls: Tls | None = None
    aliases: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None
    timeout: float = 120.0
    forward_keys: bool = True
    plaintext_keys: bool = False
    max_clients: int = 256
    limits: IntakeLimits = field(default_factory=IntakeLimits)

    def __post_init__(self) -> None:
        """ValueError: keys would cross a network in plaintext, and nobody said that they may."""
        if self.forward_keys and not self.plaintext_keys and exposed(self.server, self.tls):
            raise ValueError(
                f"server = {self.server!r}: callers' API keys would cross the network in plaintext;"
                " give tls, or forward_keys=False (the server has no keys), or plaintext_keys=True"
                " (the network is encrypted by other means)"
            )


def exposed(server: str, tls: Tls | None) -> bool:
    """Whether what goes to this server crosses a network in plaintext."""
    return tls is None and not is_loopback(server)
