"""Longwave in other people's frameworks and stores.

Nothing is imported here: each module needs the package it is named after, which comes with the
extra of the same name, and says so if that is missing.

    longwave.integrations.langchain      pip install "longwave-client[langchain]"
    longwave.integrations.llama_index    pip install "longwave-client[llama-index]"
    longwave.integrations.haystack       pip install "longwave-client[haystack]"
    longwave.integrations.faiss          pip install "longwave-client[faiss]"
    longwave.integrations.qdrant         pip install "longwave-client[qdrant]"
    longwave.integrations.pgvector       pip install "longwave-client[pgvector]"
    longwave.integrations.ray            pip install "longwave-client[ray]"
    longwave.integrations.spark          pip install "longwave-client[spark]"
"""
