"""`longwave-openai`, which is installed also where the packages that it takes are not."""

import sys

_EXTRA = ("orjson", "starlette", "uvicorn")


def main() -> int:
    """The exit code."""
    try:
        from longwave.openai_server import main as program
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        print(
            f"longwave-openai needs the package {package!r}: "
            'pip install "longwave-client[openai-server]"',
            file=sys.stderr,
        )
        return 2
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
