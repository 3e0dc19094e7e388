"""Errors named for what happens next. `message` is a sentence for the merchant, `detail` is for the log."""


class VendorError(Exception):
    """Base of everything a vendor can do to us."""

    kind = "vendor_error"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class BadCredentials(VendorError):
    """The vendor refuses us (401, 403, OAuth errors): pause the credential, tell the merchant which setting."""

    kind = "bad_credentials"

    def __init__(self, message: str, *, setting: str = "", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.setting = setting


class NoPermission(BadCredentials):
    """The log-in is good and this one service is closed to it (403). A stream with a permission of its own waits for it
    alone; for any other it is as good as being refused."""


class TryLater(VendorError):
    """429, 5xx or no answer: wait `after_s` seconds (None: our own back-off), then try again."""

    kind = "try_later"

    def __init__(self, message: str, *, after_s: float | None = None, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.after_s = after_s


class UnexpectedAnswer(VendorError):
    """Not what the vendor's documentation says: stop this stream, keep the cursor."""

    kind = "unexpected_answer"


class Rejected(UnexpectedAnswer):
    """The vendor understood and refuses (400, 409, 422): asked again it would refuse again.

    `said` are the vendor's own words. They may hold what was asked, a person's name or number: for the page of whoever
    may see that person, never for a log.
    """

    def __init__(self, message: str, *, status: int = 400, said: str = "", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.status = status
        self.said = said


class Frozen(VendorError):
    """The merchant froze this source: no call is made, in either direction."""

    kind = "frozen"


class Unsupported(VendorError):
    """The vendor cannot do this: do not try; the capability table says so."""

    kind = "unsupported"


class NotFound(VendorError):
    """The vendor knows no such record (404 on a single record)."""

    kind = "not_found"


class BadRow(Exception):
    """One row is garbled: it is kept with `reason`, the others go on."""

    def __init__(self, reason: str, *, external_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.external_id = external_id
