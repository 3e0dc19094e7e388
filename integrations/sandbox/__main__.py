"""Starts stand-in vendors in the foreground: `python -m integrations.sandbox cova --customers 2000 --sales 20000`.

Prints one line of JSON, name to address, once all of them listen; ends on SIGTERM or SIGINT.
"""

import argparse
import gc
import json
import signal
import threading
from collections.abc import Sequence

from integrations.sandbox.server import SANDBOXES, start, vendor_class


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options, for this module and for the management command alike."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SANDBOXES)}; default all")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="of the first, the next ones follow; 0 is any free one")
    for name in ("customers", "sales", "locations", "seed", "days", "rate"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--blank-payments", type=float, help="share of sales whose payments the feed leaves out")
    parser.add_argument("--trade-every", type=float, default=0, metavar="SECONDS", help="a random sale now and then")


def run(options: dict[str, object]) -> None:
    """Serves until told to stop. `options` as parsed; seeds that are None are the vendor's defaults."""
    names: Sequence[str] = options.get("names") or list(SANDBOXES)  # type: ignore[assignment]
    strange = [name for name in names if name not in SANDBOXES]
    if strange:
        raise SystemExit(f"No sandbox {', '.join(strange)}; there are {', '.join(SANDBOXES)}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wanted = ("customers", "sales", "locations", "seed", "days", "rate", "blank_payments")
    seed = {name: options[name] for name in wanted if options.get(name) is not None}
    port = int(options.get("port") or 0)  # type: ignore[call-overload]
    running = {}
    for at, name in enumerate(names):
        running[name] = start(
            name,
            host=str(options.get("host") or "127.0.0.1"),
            port=port + at if port else 0,
            trade_every=float(options.get("trade_every") or 0),  # type: ignore[arg-type]
            **{switch: value for switch, value in seed.items() if switch in vendor_class(name).switches},
        )
    gc.freeze()  # what was made so far stays: looking it all through for garbage would stop a call for a second
    print(json.dumps({name: one.url for name, one in running.items()}), flush=True)
    while not stop.wait(3600):
        pass
    for one in running.values():
        one.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    arguments(parser)
    run(vars(parser.parse_args()))


if __name__ == "__main__":
    main()
