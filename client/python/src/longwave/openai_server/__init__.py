"""`longwave-openai`: OpenAI's embeddings API over a Longwave server (extra `openai-server`)."""

from longwave.openai_server.app import create_app
from longwave.openai_server.intake import IntakeLimits
from longwave.openai_server.settings import Settings

__all__ = ["IntakeLimits", "Settings", "create_app"]
