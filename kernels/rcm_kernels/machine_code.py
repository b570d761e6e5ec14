"""Where in a kernel's machine code registers are spilled: in a loop it costs, once a tile not."""

import re
import subprocess
import tempfile
from pathlib import Path

_LABEL = re.compile(r"^(\.L\w+):")
_LATCH = re.compile(r"@!?U?P\d\s+BRA\S*\s+`\((\.L\w+)\)")
_PRODUCT = re.compile(r"\bHGMMA\b")
_SPILL = re.compile(r"\b(STL|LDL)\b")


def disassembled(cubin: bytes) -> list[str]:
    """Return the lines of a cubin's machine code, by the nvdisasm that comes with Triton.

    Raises:
        RuntimeError: nvdisasm fails.
    """
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        done = subprocess.run([str(program), "-c", str(file)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"nvdisasm failed: {done.stderr.strip()[:500]}")
    return done.stdout.splitlines()


def spills_in_loops(lines: list[str]) -> list[int]:
    """Count the spills of each innermost loop that multiplies matrices, in order.

    A loop ends with a conditional jump back. Waits spin out of line and jump back into the code
    without a condition, so that they are no loops here.

    Args:
        lines: Machine code as ``disassembled`` gives it.
    """
    labels = {found[1]: n for n, line in enumerate(lines) if (found := _LABEL.match(line))}
    latches = ((n, _LATCH.search(line)) for n, line in enumerate(lines))
    jumps = [(labels.get(found[1], n), n) for n, found in latches if found]
    loops = [
        (first, last)
        for first, last in jumps
        if first < last and any(map(_PRODUCT.search, lines[first:last]))
    ]
    inner = [
        (first, last)
        for first, last in loops
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in loops)
    ]
    return [sum(bool(_SPILL.search(line)) for line in lines[a:b]) for a, b in inner]
