"""File drop: files of customers, sales and stock, uploaded, or fetched from a folder or a bucket."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..kit.card import Card, Secret, Text, Verified
from ..kit.errors import BadCredentials
from ..kit.settings import freeze
from .places import Bucket, Client, Folder, Place
from .streams import Files

_NO_CALLS = "Files are read, and nothing is created anywhere."
_AS_THEY_COME = "A file brings every shopper and sale it holds: leave out of it what is not to come in."
_NOT_POS = "A file is not a till: redeem here, and enter the discount in the POS by hand."


def client(*, values: Mapping[str, Any], base_url: str, token: Any, save_token: Any, limiter: Any) -> Client:
    def open_place() -> Place:
        return _place(values)

    return Client(name=str(values.get("source", "")), open_place=open_place, most_mb=int(values.get("_most_mb") or 50))


def _place(values: Mapping[str, Any]) -> Place:
    def said(name: str) -> str:
        return str(values.get(name) or "").strip()

    if said("bucket") or said("endpoint"):
        if said("folder"):
            raise BadCredentials("Enter a folder or a bucket, not both.", setting="folder")
        for name, label in (("endpoint", "Endpoint"), ("bucket", "Bucket"), ("access_key", "Access key"),
                            ("secret_key", "Secret key")):  # fmt: skip
            if not said(name):
                raise BadCredentials(f"{label} is needed for a bucket.", setting=name)
        return Bucket(
            endpoint=said("endpoint"), bucket=said("bucket"), prefix=said("prefix"), region=said("region"),
            access_key=said("access_key"), secret_key=said("secret_key"),
            allow_loopback=bool(values.get("_loopback")),
        )  # fmt: skip
    if not said("folder"):
        raise BadCredentials("Enter a folder or a bucket: where do the files lie?", setting="folder")
    return Folder(said("_root"), said("folder"))


def connect(client: Client) -> Verified:
    """The place answers. The source's name is the identity: its files and what was uploaded by hand are one source."""
    title = " ".join(client.name.split())
    identity = "-".join(re.findall(r"[a-z0-9]+", title.lower()))
    if not identity:
        raise BadCredentials("Give the source a name with letters in it.", setting="source")
    client.call()
    count = len(client.place.files())
    note = f"{count} file{' lies' if count == 1 else 's lie'} there now." if count else "Nothing lies there yet."
    return Verified(identity=identity[:100], title=title[:200], notes=(note,))


CARD = Card(
    slug="files",
    title="File drop",
    summary="Customers, sales and inventory from CSV and XLSX files: uploaded here, or fetched from a folder or bucket "
    "every five minutes.",
    guide="docs/cards/files.md",
    steps=(
        "To read a file once, upload it: choose what it holds, check the columns, look at the first rows, begin.",
        "For daily files, read one by hand first: its columns are remembered for its source, and later files with the "
        "same columns are read by themselves.",
        "Then name the place the files are dropped at: a folder below the one your installation watches, or a bucket.",
        "Give the File drop a key that can list and read that bucket and nothing else.",
        "Name files for what they hold (customers-2026-12-01.csv); a file that is written anew under its old name is "
        "read again.",
    ),
    credentials=(
        Text("source", label="Source", help="A name for what the files come from, such as the old till. Files uploaded "
             "by hand under the same name belong to it too.", placeholder="Old till"),
        Text("folder", label="Folder", required=False, help="For files on this installation: a folder below your own "
             "in the one it watches. Leave it empty for a bucket.", placeholder="daily"),
        Text("endpoint", label="Endpoint", required=False, help="For a bucket: where its store answers. Addresses of "
             "inner networks are refused.", placeholder="s3.us-west-2.amazonaws.com"),
        Text("bucket", label="Bucket", required=False, help="The bucket's name."),
        Text("prefix", label="Prefix", required=False, help="Only what lies below this is read.", placeholder="daily/"),
        Text("region", label="Region", required=False, help="The bucket's region; us-east-1 when it is empty."),
        Text("access_key", label="Access key", required=False, help="Of a user who can list and read the bucket."),
        Secret("secret_key", label="Secret key", required=False, help="It is shown once, when the access key is made."),
    ),
    settings=(replace(freeze("the drop place"), interplay="What somebody uploads by hand is read all the same."),),
    unserved={
        "relevant_market": _AS_THEY_COME,
        "restrict_locations": _AS_THEY_COME,
        "skip_payment_method": "A file's sales are complete; nothing is asked for afterwards.",
        "sync_personas": f"What a file says of a shopper always flows in. {_NO_CALLS}",
        "pricing_group": _NO_CALLS,
        "sync_to_market": _NO_CALLS,
        "enrol_after": "Files often bring the past; whom they bring is enrolled under Personas, or by a POS's card.",
        "sms_optin_after": "Files often bring the past, and an export is no permission to send messages.",
        "points_import_on": "Balances come over with AIQ's contact export, after a dry run of its own.",
        "mirror_points": "A file tells a balance of one moment; mirroring needs one that can be asked for again.",
    },
    base_url="https://s3.amazonaws.com",  # nobody is asked there unless a merchant enters it
    client=client,
    connect=connect,
    streams=(Files,),
    told=True,
    mend="Download them with their reasons beside the file they came in, mend them, and send that file.",
    calls_per_minute=600,
    capabilities={
        "customers": "yes",
        "sales": "yes",
        "refunds": "yes",
        "payment_method": "yes",
        "locations": "yes",
        "stock": "yes",
        "customer_create": "A file drop only reads.",
        "pricing_groups": "Files carry none.",
        "points_import": "yes",
        "points_mirror": "A file tells a balance of one moment; mirroring needs one that can be asked for again.",
        "discount_flat": "yes",
        "discount_percent": "yes",
        "discount_product": _NOT_POS,
        "discount_bogo": _NOT_POS,
        "discount_by_id": _NOT_POS,
        "discount_min_spend": _NOT_POS,
        "discount_tier": _NOT_POS,
        "discount_back": "Files do not tell that a discount was removed; give the points back here.",
        "fulfilment": "yes",
        "deleted_sales": "A row that is missing from a later file is not deleted: files may hold only what is new.",
        "webhooks": "Files are looked for every five minutes.",
        "queue": "Files have no waiting room.",
        "purchase_limits": "Files do not check them.",
    },
    redact=("government_id", "medical_id"),
)  # fmt: skip
