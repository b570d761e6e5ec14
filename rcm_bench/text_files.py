"""Reading a text file from outside, with one message for each way in which that can fail."""

from pathlib import Path

from rcm_bench.errors import UserError


def read_text(path: Path, where: str = "", max_bytes: int | None = None) -> str:
    """Read a file as UTF-8.

    Args:
        path: The file.
        where: What the message begins with, such as ``"suite.yaml:3: prompts.file: "``.
        max_bytes: How large it may be.

    Raises:
        UserError: It is missing, too large, cannot be read, or is no UTF-8.
    """
    try:
        if max_bytes is not None and (size := path.stat().st_size) > max_bytes:
            raise UserError(f"{where}{path}: expected at most {max_bytes} bytes, got {size}")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{where}{path}: no such file") from None
    except UnicodeDecodeError as fault:
        raise UserError(f"{where}{path}: expected UTF-8, byte {fault.start} is not") from None
    except OSError as fault:
        raise UserError(f"{where}{path}: cannot be read ({fault.strerror})") from None
