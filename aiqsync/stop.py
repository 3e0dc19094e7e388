"""`python -m aiqsync.stop`: end everything of this checkout, the database last. Needs no settings."""

from .embedded import Cluster
from .env import VAR
from .processes import Register


def main() -> None:
    register = Register(VAR / "run")
    for name in sorted(register.names(), key=lambda n: n != "demo"):  # the supervisor first, or it restarts the rest
        if register.end(name, grace_s=15):
            print(f"stopped {name}")
    for home in ("postgres", "postgres-test"):
        cluster = Cluster(VAR / home)
        if (cluster.data / "postmaster.pid").exists():
            cluster.stop()
            print(f"stopped {home}")


if __name__ == "__main__":
    main()
