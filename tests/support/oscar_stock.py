"""One of each thing that the shop's addresses name, so that all of its routes can be asked."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.tokens import default_token_generator
from django.contrib.flatpages.models import FlatPage
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from oscar.core.loading import get_model

PASSWORD = "of nobody 7"
ADDRESS = {"first_name": "A", "last_name": "B", "line1": "1 Fig Lane", "line4": "Figham",
           "postcode": "N1 9RT"}  # fmt: skip


def make(app: str, model: str, **values: Any) -> Any:
    """A new row."""
    return get_model(app, model).objects.create(**values)


def stock() -> dict[str, Any]:
    """What stands for which part of an address, and whose session is whose."""
    with transaction.atomic():
        return _stock()


def _stock() -> dict[str, Any]:
    users = get_user_model().objects
    staff = users.create_superuser("staff", "staff@shop.example", PASSWORD)
    customer = users.create_user("customer", "customer@shop.example", PASSWORD)
    guest = users.create_user("guest", "guest@shop.example", PASSWORD)
    product = get_model("catalogue", "Product").objects.get(pk=1)
    country = get_model("address", "Country").objects.get()
    for floor in range(3):
        make(
            "address",
            "UserAddress",
            user=customer,
            country=country,
            **ADDRESS | {"line2": f"Floor {floor}"},
        )
    order = _order(customer, product)
    _offers(product)
    _dashboard(staff, product, country)
    keys = _accounts(customer, staff, product)
    keys |= {
        "pk": 1,
        "order_number": order.number,
        "hash": order.verification_hash(),
        "uidb64": urlsafe_base64_encode(force_bytes(guest.pk)),
        "token": default_token_generator.make_token(guest),
        "line_id": order.lines.get().pk,
        "user_pk": guest.pk,
    }
    users_of = {"staff": staff, "customer": customer}
    # One for each method: a GET logs out.
    sessions = {
        method: {name: _session(user) for name, user in users_of.items()}
        for method in ("GET", "POST")
    }
    return {"keys": {name: str(value) for name, value in keys.items()}, "sessions": sessions}


def _session(user: Any) -> str:
    store = SessionStore()
    store["_auth_user_id"] = str(user.pk)
    store["_auth_user_backend"] = "oscar.apps.customer.auth_backends.EmailBackend"
    store["_auth_user_hash"] = user.get_session_auth_hash()
    store.create()
    return str(store.session_key)


def _order(customer: Any, product: Any) -> Any:
    record = product.stockrecords.get()
    price = record.price
    country = get_model("address", "Country").objects.get()
    order = make(
        "order", "Order", number="100001", user=customer, currency="GBP", status="Pending",
        total_incl_tax=price, total_excl_tax=price, date_placed=timezone.now(),
        shipping_address=make("order", "ShippingAddress", country=country, **ADDRESS),
    )  # fmt: skip
    prices = {
        f"{one}_{tax}_tax": price
        for one in ("line_price", "line_price_before_discounts", "unit_price")
        for tax in ("incl", "excl")
    }
    make("order", "Line", order=order, product=product, title=product.title, stockrecord=record,
         partner=record.partner, partner_sku=record.partner_sku, num_allocated=0,
         **prices)  # fmt: skip
    make("order", "OrderNote", order=order, user=customer, message="A note", note_type="Info")
    return order


def _offers(product: Any) -> None:
    now = timezone.now()
    span = {"start_datetime": now - timedelta(days=1), "end_datetime": now + timedelta(days=9)}
    some = make("offer", "Range", name="Some", is_public=True)
    some.add_product(product)
    condition = make("offer", "Condition", range=some, type="Count", value=Decimal(1))
    benefit = make("offer", "Benefit", range=some, type="Percentage", value=Decimal(10))
    make("offer", "ConditionalOffer", name="Tenth", offer_type="Site", condition=condition,
         benefit=benefit)  # fmt: skip
    by_voucher = make("offer", "ConditionalOffer", name="By voucher", offer_type="Voucher",
                      condition=condition, benefit=benefit)  # fmt: skip
    vouchers = make("voucher", "VoucherSet", name="Set", count=1, description="", **span)
    voucher = make("voucher", "Voucher", name="Fig", code="FIG", usage="Multi-use", **span)
    voucher.offers.add(by_voucher)
    for one in vouchers.vouchers.all():
        one.offers.add(by_voucher)


def _dashboard(staff: Any, product: Any, country: Any) -> None:
    group = make("catalogue", "AttributeOptionGroup", name="Binding")
    make("catalogue", "AttributeOption", group=group, option="Cloth")
    make("catalogue", "Option", name="Wrapping", code="wrapping")
    make("communication", "CommunicationEventType", code="ORDER_PLACED", name="Order placed")
    method = make("shipping", "WeightBased", name="By weight", default_weight=Decimal(1))
    method.countries.add(country)
    make("shipping", "WeightBand", method=method, upper_limit=Decimal(9), charge=Decimal(2))
    make("partner", "StockAlert", stockrecord=product.stockrecords.get(), threshold=3)
    FlatPage.objects.create(url="/about/", title="About", content="Figs").sites.add(1)
    product.stockrecords.get().partner.users.add(staff)


def _accounts(customer: Any, staff: Any, product: Any) -> dict[str, Any]:
    wishes = make("wishlists", "WishList", owner=customer, name="Wishes", visibility="Public")
    others = make("wishlists", "WishList", owner=customer, name="Others")
    line = make("wishlists", "Line", wishlist=wishes, product=product, title=product.title)
    make("reviews", "ProductReview", product=product, score=4, title="Good", body="It is.",
         user=staff, status=1)  # fmt: skip
    make("communication", "Notification", recipient=customer, subject="Hello", body="Here it is")
    make("communication", "Email", user=customer, subject="Hello", body_text="Here it is")
    alert = make("customer", "ProductAlert", product=product, user=customer, status="Active")
    unconfirmed = make("customer", "ProductAlert", product=product, email="a@shop.example",
                       status="Unconfirmed", key="f" * 40)  # fmt: skip
    return {
        "key": wishes.key,
        "to_key": others.key,
        "line_pk": line.pk,
        "alert_key": unconfirmed.key,
        "alert": alert.pk,
    }
