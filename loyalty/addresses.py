"""What stands for an address once its person was removed on request: a digest that knows it again and tells nobody."""

from integrations import suppression

from .models import ConsentChannel

KINDS = {ConsentChannel.SMS.value: suppression.PHONE, ConsentChannel.EMAIL.value: suppression.EMAIL}
CHANNELS = {kind: channel for channel, kind in KINDS.items()}


def kept(account_id: int, channel: str, address: str) -> str:
    """The form in which the journal keeps an address that was taken out; what has it already stays as it is."""
    if is_kept(address):
        return address
    return suppression.PSEUDONYM + suppression.digest(account_id, KINDS[str(channel)], address)


def is_kept(address: str) -> bool:
    return address.startswith(suppression.PSEUDONYM)
