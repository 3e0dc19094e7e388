"""What `/_sandbox/state` answers of each stream, whoever the vendor is: how many lines, and a checksum over them."""

import hashlib
from typing import Any


def summed(streams: dict[str, list[str]], *, rows: bool) -> dict[str, Any]:
    """By stream: `count`, `sha256` over the sorted lines, and with `rows` the lines themselves."""
    answer: dict[str, Any] = {}
    for name, lines in streams.items():
        lines.sort()
        answer[name] = {"count": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
        if rows:
            answer[name]["rows"] = lines
    return answer
