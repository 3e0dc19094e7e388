"""The documented flows of AIQ's Core and Enhanced levels, played against any server: `python -m tests.conformance`."""
