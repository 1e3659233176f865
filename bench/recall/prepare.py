"""Make the shop's state and a copy of it: `python -m bench.recall.prepare FOLDER`.

Ends with `users.json`: the session cookies of two users, one with a full basket and orders.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.recall.settings")
from shop.start import prepare

_BACKEND = "oscar.apps.customer.auth_backends.EmailBackend"
_USERS = 2


def main(folder: Path) -> None:
    """`primary` and `candidate` in *folder* are the same then."""
    prepare()
    from django.conf import settings  # noqa: PLC0415 - once there is a shop
    from django.core.management import call_command  # noqa: PLC0415 - as above
    from django.db import connection  # noqa: PLC0415 - as above

    final = str(Path(settings.STATE) / "shop.sqlite")
    settings.DATABASES["default"]["NAME"] = final
    connection.settings_dict["NAME"] = final
    connection.close()
    users = [_user(number) for number in range(_USERS)]
    call_command("update_index", verbosity=0)
    connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copytree(folder / "primary", folder / "candidate")
    (folder / "users.json").write_text(json.dumps(users))


def _user(number: int) -> str:
    """A user who is logged in, and the session's key."""
    from django.contrib.auth import (  # noqa: PLC0415 - as above
        BACKEND_SESSION_KEY,
        HASH_SESSION_KEY,
        SESSION_KEY,
        get_user_model,
    )
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415 - as above

    user = get_user_model().objects.create_user(f"user{number}", f"user{number}@shop.example", "x")
    if number == 0:
        _fill(user)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = _BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def _fill(user: Any) -> None:
    from oscar.apps.partner.strategy import Selector  # noqa: PLC0415 - as above
    from oscar.core.loading import get_model  # noqa: PLC0415 - as above

    products = get_model("catalogue", "Product").objects.order_by("id")
    basket = get_model("basket", "Basket").objects.create(owner=user)
    basket.strategy = Selector().strategy(user=user)
    for product in products[:3]:
        basket.add_product(product, 2)
    order_model = get_model("order", "Order")
    for number in range(3):
        total = Decimal(20 + number)
        order_model.objects.create(
            number=str(100_001 + number),
            user=user,
            currency="GBP",
            total_incl_tax=total,
            total_excl_tax=total,
            status="Pending",
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
