"""Forms made from what a card declares. No vendor has a form of its own; what is valid the services decide."""

from collections.abc import Collection
from typing import Any

from django import forms

from .kit.card import Card, Field, Lines


class CredentialForm(forms.Form):
    """A card's credential fields. Secrets are typed in, never shown; empty keeps what is stored.

    `stored` names the secrets there are, `when` says since when.
    """

    def __init__(self, card: Card, *args: Any, stored: Collection[str] = (), when: str = "", **options: Any) -> None:
        # Plain names as ids and in the POST: the command line and the docs use the same words.
        super().__init__(*args, auto_id="credential_%s", **options)
        self.card = card
        for declared in card.credentials:
            self.fields[declared.name] = _typed(declared, kept=when if declared.name in stored else "")

    def given(self) -> dict[str, str]:
        """What was typed, by field name, as the services take it."""
        return {name: self.data.get(name, "") for name in self.fields}

    def mark(self, problems: Collection[str]) -> None:
        """Tie these fields to the sentences that the page prints beside them; the first gets the cursor."""
        for number, name in enumerate(name for name in self.fields if name in problems):
            told = f"credential_{name}_error credential_{name}_helptext"
            self.fields[name].widget.attrs |= {"aria-invalid": "true", "aria-describedby": told}
            if number == 0:
                self.fields[name].widget.attrs["autofocus"] = True


def _typed(declared: Field, *, kept: str) -> forms.CharField:
    attrs: dict[str, Any] = {
        "class": "iq-input",
        "maxlength": 500,
        "spellcheck": "false",
        "autocapitalize": "off",
        "autocomplete": "new-password" if declared.secret else "off",
    }
    if declared.placeholder:
        attrs["placeholder"] = declared.placeholder
    if kept:
        attrs["placeholder"] = f"•••••••• {kept}"
    if declared.required and not kept:
        attrs["required"] = True
    if getattr(declared, "digits", False):
        attrs |= {"inputmode": "numeric", "pattern": r"\s*[0-9]+\s*", "title": "Digits only."}
    if isinstance(declared, Lines):
        attrs |= {"maxlength": declared.longest, "rows": 6, "class": "iq-input iq-mono"}
    widget: forms.Widget = forms.Textarea(attrs) if isinstance(declared, Lines) else forms.TextInput(attrs)
    if declared.secret:
        widget = forms.PasswordInput(attrs, render_value=False)
    field = forms.CharField(label=declared.label, help_text=declared.help, required=False, widget=widget)
    field.kept = kept
    return field
