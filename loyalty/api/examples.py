"""An example of each call: what was asked and what was answered, recorded from the calls themselves.

`examples.json` maps "METHOD /path" to `request` (null: no body) and `answer`. Tests hold both against the document and
record them anew (`tests/loyalty/api/test_examples.py`).
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("examples.json")
EXAMPLES: dict[str, dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
