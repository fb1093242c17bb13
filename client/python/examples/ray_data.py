"""A data set of texts becomes one of embeddings, with Ray Data.

    python ray_data.py --server 127.0.0.1:50051 --rows 2000 --output embeddings

Without --address of a cluster, a local Ray is started, which ends with the program.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import ray

import longwave
from longwave.integrations.ray import LongwaveMapper


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Embeds a data set with Ray Data.")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--address", help="of a Ray cluster; none: a local one")
    parser.add_argument("--input", help="Parquet files with a column `text`; none: made-up rows")
    parser.add_argument("--rows", type=int, default=2000, help="how many are made up")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--output", help="folder for Parquet files; none: only a summary")
    return parser.parse_args()


def made_up(rows: int) -> ray.data.Dataset:
    """Texts of very different lengths, one in ten long."""

    def text(row: dict[str, int]) -> dict[str, object]:
        number = row["id"]
        length = 2000 if number % 10 == 0 else 20 + number % 50
        return {"id": number, "text": f"Row {number} says something. " * (1 + length // 25)}

    return ray.data.range(rows).map(text)


def main() -> None:
    arguments = parse()
    if arguments.address:
        ray.init(address=arguments.address)
    else:
        ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    with longwave.Client(arguments.server) as client:
        digest = client.info().weights_digest
    source = ray.data.read_parquet(arguments.input) if arguments.input else made_up(arguments.rows)
    embedded = source.map_batches(
        LongwaveMapper,
        fn_constructor_kwargs={
            "target": arguments.server,
            "on_error": "column",
            # Every actor refuses to go on should the server go over to another model.
            "model_digest": digest,
        },
        batch_size=128,
        concurrency=arguments.actors,
        # They wait for the server; whole processors would be missing where the data are read.
        num_cpus=0.5,
    )
    begin = time.perf_counter()
    if arguments.output:
        embedded.write_parquet(arguments.output)
        embedded = ray.data.read_parquet(arguments.output)
    rows = failed = 0
    norms = []
    for batch in embedded.iter_batches(batch_size=1024):
        rows += len(batch["embedding"])
        failed += sum(error != "" for error in batch["embedding_error"])
        norms.append(np.linalg.norm(batch["embedding"], axis=1))
    seconds = time.perf_counter() - begin
    print(f"rows {rows}, failed {failed}, {rows / seconds:.0f} a second")
    print(f"length of the vectors {np.nanmin(np.concatenate(norms)):.6f} and more, model {digest}")
    ray.shutdown()


if __name__ == "__main__":
    main()
