"""Packages that only some users have."""

from __future__ import annotations

import importlib
from typing import Any


def missing(package: str, extra: str, cause: ImportError) -> ImportError:
    """The error that says how to get `package`, to be raised from `cause`.

    An ImportError of something else inside the package is returned as it is: installing the extra
    would not help, and the text would hide what is wrong.
    """
    absent = (cause.name or "").partition(".")[0]
    if isinstance(cause, ModuleNotFoundError) and absent == package.partition(".")[0]:
        return ImportError(
            f"longwave.integrations needs the package {absent!r}: "
            f'pip install "longwave-client[{extra}]"',
            name=cause.name,
        )
    return cause


def require(module: str, extra: str) -> Any:
    """The module, imported now.

    Raises:
        ImportError: it is not installed; the text names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(module, extra, error) from error
