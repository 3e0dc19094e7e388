"""Numbers of papers (a driving licence, a medical recommendation) recognise a person and are never kept as they are.

What is stored is an HMAC with a key of the installation, made for one account and one kind: the same number is the same
digest there, and nobody can read it back, or find the person by it in another account.
"""

import hmac

from django.conf import settings

SHORTEST = 5  # what is shorter is "N/A", "none" or the tail of a number: it identifies nobody


def paper_id(raw: str, *, kind: str, account_id: int) -> str:
    """The digest of a paper's number; "" when it is none. Case, blanks and punctuation are no difference."""
    plain = "".join(c for c in raw.upper() if c.isalnum())
    if len(plain) < SHORTEST or len(set(plain)) < 3 or not any(c.isdigit() for c in plain):
        return ""
    message = f"{kind}|{account_id}|{plain}".encode(errors="replace")
    return hmac.new(settings.LINK_KEY.encode(), message, "sha256").hexdigest()


def contact_digest(value: str, *, kind: str, account_id: int) -> str:
    """The digest of a phone (E.164) or an e-mail of somebody who was not imported; "" of nothing."""
    if not value:
        return ""
    message = f"outside|{kind}|{account_id}|{value.lower()}".encode(errors="replace")
    return hmac.new(settings.LINK_KEY.encode(), message, "sha256").hexdigest()
