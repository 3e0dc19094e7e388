"""`manage.py account create --name N --owner-email E`: a merchant, his log-in and his first key."""

import json

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from aiqsync.accounts.models import User, validate_zone
from aiqsync.pages.accounts import open_account


class Command(BaseCommand):
    help = "Create an account with its owner, its loyalty programme and a till's key."

    def add_arguments(self, parser):
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="a new merchant")
        create.add_argument("--name", required=True)
        create.add_argument("--owner-email", required=True)
        create.add_argument("--owner-name", default="")
        create.add_argument("--timezone", default="UTC", help="such as America/Vancouver")
        create.add_argument("--currency", default="USD")
        create.add_argument("--country", default="US")

    def handle(self, *args, **options):
        try:
            validate_email(options["owner_email"])
            validate_zone(options["timezone"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        account, owner, key = open_account(
            name=options["name"],
            owner_email=options["owner_email"],
            owner_name=options["owner_name"],
            timezone=options["timezone"],
            currency=options["currency"].upper(),
            country=options["country"].upper(),
        )
        self.stdout.write(f"uid: {account.uid}")
        self.stdout.write(f"api key (shown once): {key}")
        self.stdout.write(f"log-in: {login_link(owner)}")
        self.stdout.write(json.dumps({"uid": account.uid, "api_key": key, "owner": owner.email}))


def login_link(user: User) -> str:
    """A link under which its holder sets his password; good once, for three days."""
    base = settings.PUBLIC_URL or settings.DEMO.get("url") or "http://127.0.0.1:8000"
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return base + reverse("password-set", args=[uid, default_token_generator.make_token(user)])
