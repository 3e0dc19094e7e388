"""The bench's settings over one of its databases, each page telling how many statements it took."""

import os

from bench.settings import *  # noqa: F403
from bench.settings import DATABASES, MIDDLEWARE

DATABASES["default"]["NAME"] = os.environ.get("BENCH_DB", DATABASES["default"]["NAME"])
MIDDLEWARE = ["bench.counting.counted", *MIDDLEWARE]
