"""Answers of the contact calls as schemas: the shapes clients may count on."""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers as s


def enveloped(name: str, data: s.Field) -> s.Serializer:
    return inline_serializer(
        name, {"data": data, "code": s.IntegerField(default=200), "success": s.BooleanField(default=True)}
    )


def _moment(**options: Any) -> s.Field:
    return s.IntegerField(help_text="Unix seconds", **options)


class Contact(s.Serializer):
    contactID = s.UUIDField()
    srcID = s.CharField(allow_null=True, help_text="In the POS he was edited in last")
    platform = s.CharField(help_text="That POS, or `loyalty`")
    firstName = s.CharField(allow_blank=True)
    lastName = s.CharField(allow_blank=True)
    email = s.CharField(allow_blank=True)
    mobilePhone = s.CharField(allow_blank=True)
    homePhone = s.CharField(allow_blank=True, help_text="Always empty")
    favoriteStoreID = s.IntegerField(allow_null=True)
    loyalty = s.BooleanField()
    loyaltyPoints = s.FloatField()
    loyaltySignupTS = _moment(allow_null=True)
    inserted = _moment()
    optinTime = _moment(allow_null=True)
    optoutTime = _moment(allow_null=True)
    optreqTime = _moment(allow_null=True)
    hasRequested = s.BooleanField(allow_null=True)
    emailOptInTime = _moment(allow_null=True)
    smsconsent = s.BooleanField()
    leakyBucket = s.CharField(allow_null=True, help_text="Always null")


class Attribute(s.Serializer):
    parent = s.CharField(allow_blank=True, required=False, max_length=100)
    key = s.CharField(max_length=100)
    value = s.CharField(allow_blank=True, max_length=1000)
    ts = _moment(allow_null=True, required=False)


class WholeContact(Contact):
    spent = s.FloatField(help_text="Lifetime dollars, refunds taken off")
    referCode = s.CharField()
    referLink = s.CharField(allow_null=True)
    lastTouch = _moment(allow_null=True)
    address = s.CharField(allow_blank=True)
    birthdate = s.DateField(allow_null=True)
    customAttributes = Attribute(many=True, allow_null=True)


class Listed(s.Serializer):
    results = Contact(many=True, allow_null=True)
    start = s.IntegerField()
    limit = s.IntegerField()
    size = s.IntegerField()
    total = s.IntegerField()


class OrderLine(s.Serializer):
    name = s.CharField()
    brand = s.CharField(allow_blank=True)
    category = s.CharField(allow_blank=True)
    sku = s.CharField(allow_blank=True)
    quantity = s.FloatField(help_text="Negative on a refund")
    totalPrice = s.FloatField(help_text="Dollars of the line, after its discounts")
    timestamp = _moment()
    storeName = s.CharField(allow_blank=True)
    orderID = s.CharField()
    type = s.ChoiceField(["sale", "refund"])


class Event(s.Serializer):
    id = s.CharField()
    type = s.CharField(help_text="earn, redeem, reverse, adjust, boost, import, mirror, expire, merge")
    points = s.FloatField()
    timestamp = _moment()
    happenedAt = _moment()
    name = s.CharField(allow_blank=True)
    note = s.CharField(allow_blank=True)


class Timeline(s.Serializer):
    events = Event(many=True, allow_null=True)


class Who(s.Serializer):
    contactID = s.UUIDField()
    firstName = s.CharField(allow_blank=True)
    lastName = s.CharField(allow_blank=True)
    name = s.CharField(allow_blank=True)
    phone = s.CharField(allow_blank=True)
    mobilePhone = s.CharField(allow_blank=True)
    email = s.CharField(allow_blank=True)


class AdjustmentRow(Who):
    id = s.CharField()
    value = s.FloatField()
    note = s.CharField(allow_blank=True)
    addedBy = s.CharField(allow_blank=True)
    timestamp = _moment()
    ts = _moment()


class RedemptionRow(Who):
    redemptionID = s.UUIDField()
    discountID = s.CharField()
    discountName = s.CharField()
    pointsDeducted = s.FloatField()
    pointsReturned = s.FloatField()
    state = s.CharField()
    channel = s.CharField()
    transactionID = s.CharField(allow_null=True)
    storeName = s.CharField(allow_blank=True)
    timestamp = _moment()


class Adjusted(s.Serializer):
    contactID = s.UUIDField()
    id = s.CharField()
    value = s.FloatField()
    loyaltyPoints = s.FloatField(help_text="After it; 0 where points are hidden")


class Recommendation(s.Serializer):
    rank = s.IntegerField()
    name = s.CharField()
    brand = s.CharField(allow_blank=True)
    category = s.CharField(allow_blank=True)
    sku = s.CharField(allow_blank=True)
    productID = s.CharField(allow_blank=True)
    reason = s.ChoiceField(["again", "together"])
    score = s.IntegerField()


class Overrides(s.Serializer):
    contactID = s.UUIDField()
    firstName = s.CharField(required=False)
    lastName = s.CharField(required=False)
    mobilePhone = s.CharField(required=False)
    email = s.CharField(required=False)
    birthdate = s.DateField(required=False)
    address = s.CharField(required=False)
    setAt = s.DictField(child=s.IntegerField())


class Overridden(s.Serializer):
    contactID = s.UUIDField()
    overridden = s.ListField(child=s.CharField(), allow_null=True)


class SignUp(s.Serializer):
    """The body of a sign-up; unknown fields are ignored."""

    firstName = s.CharField(required=False, allow_null=True, max_length=200)
    lastName = s.CharField(required=False, allow_null=True, max_length=200)
    mobilePhone = s.CharField(required=False, allow_null=True, max_length=200)
    email = s.CharField(required=False, allow_null=True, max_length=254)
    address = s.CharField(required=False, allow_null=True, max_length=300)
    birthdate = s.CharField(required=False, allow_null=True, help_text="A day, 1990-04-20")
    favoriteStore = s.CharField(required=False, allow_null=True, max_length=200)
    favoriteStoreID = s.IntegerField(required=False, allow_null=True)
    customAttributes = Attribute(many=True, required=False, allow_null=True)
    referCode = s.CharField(required=False, allow_null=True, max_length=100)
    loyalty = s.BooleanField(required=False, allow_null=True)
    smsoptin = s.BooleanField(required=False, allow_null=True)
    emailOptIn = s.BooleanField(required=False, allow_null=True)


class SignedUp(s.Serializer):
    contactID = s.UUIDField()
    srcID = s.CharField(allow_null=True)


class Referred(s.Serializer):
    contactID = s.UUIDField()
    referCode = s.CharField()
    referLink = s.CharField(allow_null=True)
    referredBy = s.UUIDField(allow_null=True)
