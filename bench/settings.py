"""The product's settings with the bench's two extra views mounted beside its own."""

from aiqsync.settings import *  # noqa: F403

ROOT_URLCONF = "bench.stack"
