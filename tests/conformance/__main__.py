"""`python -m tests.conformance --base-url https://host --uid 1234 --key ...`: play the cases and print a table.

It writes: shoppers with numbers of 555-01xx and addresses of example.com, sales, points and, where the account has a
discount that costs points, a redemption. Use an account for trials. The exit code is 1 when a case failed.
"""

import argparse
import os
import sys

from . import account, consent, contacts, core, enhanced, rules  # noqa: F401  (they register their cases)
from .kit import CASES, Session, play, table


def key_of(given: str) -> str:
    """A key as it is, or `env:NAME`, or `@file`, so that it need not stand on the command line."""
    if given.startswith("env:"):
        return os.environ[given[4:]]
    if given.startswith("@"):
        with open(given[1:]) as file:
            return file.read().strip()
    return given


def main(arguments: list[str] | None = None) -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    asked.add_argument("--base-url", required=True, help="scheme and host; the calls are below /api")
    asked.add_argument("--uid", required=True, help="the account id")
    asked.add_argument("--key", required=True, help="an API key, or env:NAME, or @file")
    asked.add_argument("--only", default="", help="cases of this level, or with this word in their title")
    given = asked.parse_args(arguments)
    word = given.only.lower()
    cases = [one for one in CASES if not word or word in (one.level.lower(), *one.title.lower().split())]
    results = play(Session(given.base_url, given.uid, key_of(given.key)), cases)
    print(table(results))
    return int(any(one.outcome == "failed" for one in results))


if __name__ == "__main__":
    sys.exit(main())
