"""The form of the discount builder: money typed in dollars, spans in words, pictures checked as they come in."""

import re
from decimal import Decimal

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.forms.widgets import FILE_INPUT_CONTRADICTION
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from stores.models import Store

from . import codes, pictures
from .models import Audience, CodeKind, Discount, ImageKind, Reward

_SPAN = re.compile(r"(\d{1,4})\s*(d|day|days|h|hour|hours)", re.IGNORECASE)


def in_words(hours: int | None) -> str:
    """Hours as they are typed: `7 days`, `12 hours`."""
    if not hours:
        return ""
    count, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"


class SpanField(forms.CharField):
    """Days or hours in words, kept in hours."""

    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "7 days, or 12 hours"})

    def clean(self, value):
        text = super().clean(value).strip()
        if not text:
            return None
        found = _SPAN.fullmatch(text)
        if not found or not int(found[1]):
            raise forms.ValidationError("Type a number of days or hours: 7 days, or 12 hours.")
        return int(found[1]) * (24 if found[2].lower().startswith("d") else 1)


def _span(label: str, help_text: str) -> SpanField:
    return SpanField(label=label, required=False, help_text=help_text)


class PictureInput(forms.ClearableFileInput):
    """The picture there is, a box that removes it, and the choice of another."""

    def __init__(self) -> None:
        super().__init__(attrs={"accept": "image/png,image/jpeg,image/webp"})

    def is_initial(self, value) -> bool:
        return isinstance(value, str) and bool(value)

    def _render(self, template_name, context, renderer=None) -> SafeString:
        # The form renderer knows the templates of apps alone.
        return render_to_string("aiqsync/home/picture_input.html", context)


class PictureField(forms.FileField):
    """A `pictures.Picture`; False when the one there is shall go, None when all stays. Its initial is an address."""

    def __init__(self, kind: str, **options) -> None:
        super().__init__(required=False, widget=PictureInput, **options)
        self.kind = kind

    def clean(self, data, initial=None):
        if data is FILE_INPUT_CONTRADICTION:
            raise forms.ValidationError("Remove the picture there is, or choose another: not both.")
        if not isinstance(data, UploadedFile):
            return False if data is False else None
        if not data.size:
            raise forms.ValidationError("The file is empty.")
        try:
            return pictures.read(data, kind=self.kind)
        except pictures.NotAPicture as error:
            raise forms.ValidationError(str(error)) from None


class DiscountForm(forms.ModelForm):
    logo = PictureField(
        ImageKind.LOGO, label="Logo",
        help_text="Square, beside the name: the middle of the picture is taken. PNG, JPEG or WebP, up to 800 kB.",
    )  # fmt: skip
    cover = PictureField(
        ImageKind.COVER, label="Cover",
        help_text="Wide, above the name; best twice as wide as high. PNG, JPEG or WebP, up to 800 kB.",
    )  # fmt: skip
    amount = forms.DecimalField(
        label="Amount off, in dollars",
        required=False,
        min_value=Decimal("0.01"),
        max_value=Decimal(100_000),
        max_digits=9,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="10 is $10.00.",
    )
    min_spend = forms.DecimalField(
        label="Minimum spend, in dollars",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(100_000),
        max_digits=9,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Empty: none. Checked here where the order's amount is known.",
    )
    cooldown = _span("Cooldown between redemptions", "Empty: none.")
    valid_for = _span(
        "Relative expiration",
        "After the shopper received it: joined the audience, else became a member. Empty: the end above alone counts.",
    )
    for_stores = forms.ModelMultipleChoiceField(
        label="Stores", queryset=None, required=False, widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: everywhere.",
    )  # fmt: skip
    for_audiences = forms.ModelMultipleChoiceField(
        label="Audiences", queryset=None, required=False, widget=forms.CheckboxSelectMultiple,
        help_text="Only their members see it. None chosen: every member of the programme.",
    )  # fmt: skip
    new_codes = forms.CharField(
        label="Add codes", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="One a line, up to 20,000 at once.",
    )  # fmt: skip
    make_codes = forms.IntegerField(
        label="Or make so many", required=False, min_value=1, max_value=20_000, widget=UnfoldAdminIntegerFieldWidget
    )

    class Meta:
        model = Discount
        fields = [
            "internal_name", "tags", "reward", "name", "description", "kind", "percent", "points", "stackable",
            "reusable", "hide_redeem", "starts_at", "ends_at", "code_kind", "static_code", "in_store_only",
            "pos_discount_id", "rank",
        ]  # fmt: skip

    # What a form of few fields leaves out is what a new discount has.
    DEFAULTS = ("reward", "code_kind", "rank")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.amount_cents:
            self.initial["amount"] = Decimal(self.instance.amount_cents) / 100
        if self.instance.min_spend_cents:
            self.initial["min_spend"] = Decimal(self.instance.min_spend_cents) / 100
        self.initial["cooldown"] = in_words(self.instance.cooldown_h)
        self.initial["valid_for"] = in_words(self.instance.valid_for_h)
        for name in ("percent", "points", *self.DEFAULTS):
            if name in self.fields:
                self.fields[name].required = False
        for name in ("starts_at", "ends_at"):
            if name in self.fields:  # two inputs, and the label is of neither
                for one, part in zip(getattr(self.fields[name].widget, "widgets", ()), ("day", "hour"), strict=False):
                    one.attrs["aria-label"] = f"{self.fields[name].label}, {part}"
        if "points" in self.fields:
            self.fields["points"].help_text = "Empty: it costs no points."
        if "for_stores" in self.fields:
            self.fields["for_stores"].queryset = Store.objects.order_by("name")
            self.fields["for_audiences"].queryset = Audience.objects.filter(archived_at=None)
        if self.instance.pk:
            self.pictures = pictures.digests(discount=self.instance)
            self.initial |= {kind: pictures.address(digest) for kind, digest in self.pictures.items()}
            self.initial["for_stores"] = list(self.instance.stores.values_list("store_id", flat=True))
            self.initial["for_audiences"] = list(self.instance.audiences.values_list("audience_id", flat=True))
            if "new_codes" in self.fields and self.instance.code_kind == CodeKind.UNIQUE:
                free, used = codes.left(account_id=self.instance.account_id, discount_id=self.instance.pk)
                self.fields["new_codes"].help_text += f" {free:,} are free, {used:,} were handed out."

    def clean_points(self) -> Decimal:
        return self.cleaned_data.get("points") or Decimal(0)

    def clean_percent(self) -> Decimal:
        return self.cleaned_data.get("percent") or Decimal(0)

    def clean_reward(self) -> str:
        return self.cleaned_data.get("reward") or self.instance.reward

    def clean_code_kind(self) -> str:
        return self.cleaned_data.get("code_kind") or self.instance.code_kind

    def clean_rank(self) -> int:
        given = self.cleaned_data.get("rank")
        return self.instance.rank if given is None else given

    def clean(self):
        data = super().clean()
        amount = data.get("amount")
        flat = data.get("kind") == Discount.Kind.FLAT
        self.instance.amount_cents = int(amount * 100) if flat and amount else 0
        if flat and not amount and "amount" not in self.errors:
            self.add_error("amount", "Say how many dollars come off.")
        self.instance.min_spend_cents = int((data.get("min_spend") or 0) * 100)
        self.instance.cooldown_h = data.get("cooldown") or 0
        self.instance.valid_for_h = data.get("valid_for")
        if self.instance.cooldown_h and not data.get("reusable") and data.get("reward") != Reward.TIER:
            self.add_error("cooldown", "A cooldown is for a discount that can be used more than one time.")
        return data

    def _get_validation_exclusions(self):
        """The model names the field in cents; what is wrong with it is said above, in dollars."""
        return super()._get_validation_exclusions() | {"amount_cents"}

    def add_error(self, field, error):
        if field is None and hasattr(error, "error_dict") and "amount_cents" in error.error_dict:
            error.error_dict.pop("amount_cents")
            if not error.error_dict:
                return
        super().add_error(field, error)
