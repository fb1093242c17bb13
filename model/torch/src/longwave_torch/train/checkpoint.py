"""Checkpoints of a run: runs/<name>/checkpoints/<step>.pt, each whole or not there."""

import os
import pathlib

import torch


class Checkpoints:
    def __init__(self, folder, keep):
        self.folder = pathlib.Path(folder) / "checkpoints"
        self.keep = keep

    def _paths(self):
        return sorted(self.folder.glob("[0-9]*.pt"))

    def save(self, step, state):
        """Writes beside, then renames; older ones beyond `keep` are removed after that."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "writing.tmp"
        torch.save({"step": step, **state}, temporary)
        os.replace(temporary, self.folder / f"{step:08d}.pt")
        for path in self._paths()[: -self.keep]:
            path.unlink()

    def latest(self):
        """The newest state, or None."""
        paths = self._paths()
        if not paths:
            return None
        return torch.load(paths[-1], map_location="cpu", weights_only=True)
