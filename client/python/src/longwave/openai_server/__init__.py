"""OpenAI's embeddings API over a Longwave server: the program `longwave-openai`.

Nothing is imported here, since the packages that it takes come with the extra `openai-server`.
`longwave.openai_server.app` is the application, for any ASGI server.
"""
