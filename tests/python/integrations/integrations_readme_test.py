"""Snippets of the integrations' page that need neither Ray nor Spark."""

from __future__ import annotations

import os

import pytest
from postgres import postgres
from readme_snippets import run, snippets

HEAVY = {"Ray", "Spark"}
LIGHT = {"LangChain", "LlamaIndex", "Haystack", "FAISS", "Qdrant", "pgvector"}


def test_each_section_has_code():
    found = snippets()
    assert set(found) == LIGHT | HEAVY
    assert all(found.values()), found


@pytest.mark.parametrize("section", sorted(LIGHT - {"pgvector"}))
def test_snippets_run(section, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in snippets()[section]:
        run(code, server=target)


@pytest.mark.skipif(
    "LONGWAVE_TEST_POSTGRES" in os.environ,
    reason="the snippet makes a table `notes`, which is not for somebody else's database",
)
def test_snippets_run_with_postgres(target):
    with postgres() as address:
        for code in snippets()["pgvector"]:
            run(code, server=target, postgres=address)
