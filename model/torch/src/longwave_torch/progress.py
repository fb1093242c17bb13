"""A progress bar on stderr, if that is a terminal."""

import sys

import tqdm


class Progress:
    """with Progress("reading", total) as progress: progress.add(1)"""

    def __init__(self, what, total, unit=""):
        self._bar = tqdm.tqdm(
            total=total,
            desc=what,
            unit=unit or "",
            unit_scale=True,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            mininterval=0.5,
        )

    def add(self, count):
        self._bar.update(count)

    def show(self, **values):
        self._bar.set_postfix({k: f"{v:.4g}" for k, v in values.items()}, refresh=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
