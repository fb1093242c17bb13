"""The model's volume goes bad under a server that has loaded from it: weights are owned memory."""

import os
import pathlib
import shutil

from canary import Canary
from harness import PATIENCE, Server, request


def test_files_that_change_after_loading_change_nothing(real_program, model_folder, tmp_path):
    folder = pathlib.Path(shutil.copytree(model_folder, tmp_path / "model"))
    files = [folder / "model.safetensors", folder / "config.json"]
    with Server(real_program, f"--model={folder}") as server:
        stub = server.ready().stub()
        message = request(list(range(5, 200)))
        expected = stub.Encode(message, timeout=PATIENCE).embeddings.data

        def unchanged() -> None:
            for _ in range(5):
                assert stub.Encode(message, timeout=PATIENCE).embeddings.data == expected

        with Canary(server):
            for path in files:
                with open(path, "r+b") as file:
                    file.write(b"\xff" * path.stat().st_size)
            unchanged()
            for path in files:
                os.truncate(path, 7)
            unchanged()
            # What lies there now would not be served.
            with Server(real_program, f"--model={folder}") as other:
                assert other.wait() != 0
            for path in files:
                path.unlink()
            unchanged()
        assert server.stop() == 0
