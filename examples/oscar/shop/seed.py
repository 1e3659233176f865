"""The shop's stock: made here, the same every time."""

from decimal import Decimal

from django.db import transaction
from oscar.apps.catalogue.categories import create_from_breadcrumbs
from oscar.core.loading import get_model

_SHELVES = {
    "Gardening": ["Figs", "Vines", "Orchards", "Mosses"],
    "Cooking": ["Bread", "Preserves", "Stews", "Pickles"],
    "Travel > Islands": ["Reefs", "Lighthouses", "Ferries", "Harbours"],
    "Travel > Mountains": ["Passes", "Huts", "Glaciers", "Springs"],
}
_KINDS = ["A Field Guide to {}", "The Little Book of {}", "{} in Winter", "Forty Walks among {}"]


def seed() -> int:
    """Put 64 books on the shelves, all or none; how many there are then."""
    with transaction.atomic():
        return _fill()


def _fill() -> int:
    product_model = get_model("catalogue", "Product")
    if product_model.objects.exists():
        return int(product_model.objects.count())
    book = get_model("catalogue", "ProductClass").objects.create(name="Book", track_stock=True)
    partner = get_model("partner", "Partner").objects.create(name="Fig Tree Books")
    stock_model = get_model("partner", "StockRecord")
    number = 0
    for shelf, topics in _SHELVES.items():
        category = create_from_breadcrumbs(shelf)
        for topic in topics:
            for kind in _KINDS:
                number += 1
                product = product_model.objects.create(
                    product_class=book,
                    title=kind.format(topic),
                    upc=f"978{number:010d}",
                    description=f"<p>{128 + number} pages about {topic.lower()}.</p>",
                )
                product.categories.add(category)
                stock_model.objects.create(
                    product=product,
                    partner=partner,
                    partner_sku=f"book-{number}",
                    price_currency="GBP",
                    price=Decimal(499 + number * 25) / 100,
                    num_in_stock=number % 9 * 3,
                )
    country_model = get_model("address", "Country")
    country_model.objects.create(
        iso_3166_1_a2="GB",
        iso_3166_1_a3="GBR",
        iso_3166_1_numeric="826",
        printable_name="United Kingdom",
        name="United Kingdom",
        is_shipping_country=True,
    )
    return number
