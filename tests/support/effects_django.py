"""A small shop in Django: what its agent tells of each request, and what dry runs leave behind."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
import requests
from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path

FOLDER = Path(sys.argv[1])
KEY = "a key that nobody guesses"
DATABASE = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"timeout": 30}}
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    DATABASES={
        "default": DATABASE | {"NAME": FOLDER / "shop.sqlite"},
        "other": DATABASE | {"NAME": FOLDER / "other.sqlite"},
    },
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=[
        "moreton.strangler.agent.servers.django.EffectsMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
    ],
    MORETON_AGENT={"path": FOLDER / "effects.sqlite", "seen_min": 2, "key": KEY},
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
    USE_TZ=True,
)
django.setup()
KEPT = sqlite3.connect(FOLDER / "own.sqlite", check_same_thread=False, isolation_level=None)


class Cart(models.Model):  # type: ignore[misc]
    """What is bought."""

    item = models.CharField(max_length=20)
    price = models.DecimalField(max_digits=9, decimal_places=2)

    class Meta:
        """Of no application that Django knows."""

        app_label = "shop"

    def __str__(self) -> str:
        """What it is called."""
        return str(self.item)


def read(_: HttpRequest) -> HttpResponse:
    return HttpResponse(str(Cart.objects.count()))


def buy(request: HttpRequest) -> HttpResponse:
    with transaction.atomic(durable=True):
        cart = Cart.objects.create(item=request.POST.get("item", "fig"), price="9.99")
    transaction.on_commit(lambda: send_mail("bought", "", None, ["a@shop.example"]) and None)
    with transaction.atomic():
        Cart.objects.filter(pk=cart.pk).update(price="8.50")
    return HttpResponse(f"{Cart.objects.count()} in it", status=201)


def raw(_: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_cart (item, price) VALUES ('raw', 1)")
    return HttpResponse("raw")


def driver(_: HttpRequest) -> HttpResponse:
    connection.ensure_connection()
    connection.connection.execute("INSERT INTO shop_cart (item, price) VALUES ('driver', 1)")
    return HttpResponse("past Django")


def ends(_: HttpRequest) -> HttpResponse:
    Cart.objects.create(item="ends", price=1)
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")
    return HttpResponse("ended")


def two(_: HttpRequest) -> HttpResponse:
    Cart.objects.using("other").create(item="two", price=2)
    return HttpResponse("two")


def cached(_: HttpRequest) -> HttpResponse:
    cache.set("fig", 1)
    return HttpResponse(str(cache.get("fig")))


def session(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = 1
    return HttpResponse("seen")


def mail(_: HttpRequest) -> HttpResponse:
    send_mail("hello", "", None, ["a@shop.example"])
    return HttpResponse("sent")


def http(request: HttpRequest, client: str) -> HttpResponse:
    try:
        if client == "requests":
            requests.post("http://127.0.0.1:9/pay", timeout=5)
        else:
            urllib.request.urlopen("http://127.0.0.1:9/pay", timeout=5)
    except OSError as error:
        return HttpResponse(type(error).__name__, status=502)
    return HttpResponse(request.path)


def own(_: HttpRequest) -> HttpResponse:
    KEPT.execute("INSERT INTO t VALUES (1)")
    return HttpResponse("own")


def thread(_: HttpRequest) -> HttpResponse:
    started = threading.Thread(target=_in_thread)
    started.start()
    started.join(30)
    return HttpResponse("done")


def _in_thread() -> None:
    try:
        Cart.objects.create(item="thread", price=3)
    except OSError:
        return
    finally:
        connection.close()


def dies(_: HttpRequest) -> HttpResponse:
    Cart.objects.create(item="dies", price=4)
    raise RuntimeError


def stream(_: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield b"a"
        Cart.objects.create(item="stream", price=5)
        yield b"b"

    return StreamingHttpResponse(parts())


async def buy_async(_: HttpRequest) -> HttpResponse:
    await Cart.objects.acreate(item="async", price=6)
    return HttpResponse(f"{await Cart.objects.acount()} in it")


async def stream_async(_: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        await Cart.objects.acreate(item="stream", price=5)
        yield b"b"

    return StreamingHttpResponse(parts())


VIEWS = {"read": read, "buy": buy, "raw": raw, "driver": driver, "ends": ends,
         "two": two, "cached": cached,
         "session": session, "mail": mail, "own": own, "thread": thread, "dies": dies,
         "stream": stream, "buy_async": buy_async, "stream_async": stream_async}  # fmt: skip
urlpatterns = [path(f"{name}/", view) for name, view in VIEWS.items()]
urlpatterns.append(path("http/<str:client>/", http))
PATHS = [*(f"/{name}/" for name in VIEWS), "/http/requests/", "/http/urllib/"]


def left() -> list[Any]:
    """Everything that a request may have left behind."""
    found: list[Any] = []
    for name in ("shop", "other"):
        with sqlite3.connect(FOLDER / f"{name}.sqlite") as file:
            found.append(file.execute("SELECT item FROM shop_cart ORDER BY id").fetchall())
        file.close()
    with sqlite3.connect(FOLDER / "shop.sqlite") as file:
        found.append(file.execute("SELECT COUNT(*) FROM django_session").fetchall())
    file.close()
    found.append(KEPT.execute("SELECT COUNT(*) FROM t").fetchall())
    from django.core import mail as sent  # noqa: PLC0415 - its box is there once mail was sent

    found.append(len(getattr(sent, "outbox", [])))
    found.append(cache.get("fig"))
    return found


def prepare() -> None:
    from django.contrib.sessions.models import Session  # noqa: PLC0415 - once Django is set up
    from django.db import connections  # noqa: PLC0415 - as above

    for alias in ("default", "other"):
        with connections[alias].schema_editor() as editor:
            editor.create_model(Cart)
            editor.create_model(Session)
    KEPT.execute("CREATE TABLE t (n)")


DRY = {"x-moreton-effects": f"dry; key={KEY}"}
DRY_PATH = "/.well-known/moreton/dry-run"


def text_of(answer: Any) -> str:
    if not getattr(answer, "streaming", False):
        return str(answer.content.decode())
    if answer.is_async:

        async def whole() -> bytes:
            return b"".join([part async for part in answer.streaming_content])

        return asyncio.run(whole()).decode()
    return b"".join(answer.streaming_content).decode()


def ask(client: Client, method: str, target: str, **headers: str) -> dict[str, Any]:
    answer = client.generic(method, target, headers=headers)
    found = {"status": answer.status_code, "body": text_of(answer),
             "told": answer.headers.get("x-moreton-effects")}  # fmt: skip
    answer.close()
    return found


async def ask_async(target: str, **headers: str) -> dict[str, Any]:
    client = AsyncClient(raise_request_exception=False)
    method = "OPTIONS" if target == DRY_PATH else "GET"
    answer = await client.generic(method, target, headers=headers)
    parts = [part async for part in answer] if answer.streaming else [answer.content]
    return {"status": answer.status_code, "body": b"".join(parts).decode(),
            "told": answer.headers.get("x-moreton-effects")}  # fmt: skip


def main() -> None:
    prepare()
    client = Client(raise_request_exception=False)
    before = left()
    dry, dry_async = {}, {}
    for one in PATHS:
        dry[one] = ask(client, "OPTIONS", DRY_PATH, **DRY, **{"x-moreton-dry-run": f"POST {one}"})
        assert left() == before, (one, left())
    for one in ("/buy/", "/buy_async/", "/stream_async/", "/dies/"):
        headers = {**DRY, "x-moreton-dry-run": f"GET {one}"}
        dry_async[one] = asyncio.run(ask_async(DRY_PATH, **headers))
        assert left() == before, (one, left())
    refused = [
        ask(client, "OPTIONS", DRY_PATH, **{"x-moreton-effects": value,
                                            "x-moreton-dry-run": "POST /buy/"})
        for value in ("dry", "dry; key=another key of 16", "ask")
    ]  # fmt: skip
    refused.append(ask(client, "OPTIONS", DRY_PATH, **DRY, **{"x-moreton-dry-run": "buy"}))
    assert left() == before
    told = {}
    for one in PATHS:
        told[one] = [ask(client, "GET", one, **{"x-moreton-effects": "ask"}) for _ in range(3)]
    told_async = [
        asyncio.run(ask_async("/buy_async/", **{"x-moreton-effects": "ask"})) for _ in range(2)
    ]
    asked = {"x-moreton-effects": f"ask writes; key={KEY}"}
    writes = {one: ask(client, "POST", one, **asked) for one in ("/buy/", "/mail/")}
    wrong = ask(client, "POST", "/buy/", **{"x-moreton-effects": "ask writes; key=wrong"})
    from moreton.strangler.agent import Effects  # noqa: PLC0415 - it is loaded by then

    known = Effects(FOLDER / "effects.sqlite").endpoints()
    effects = {one.name: sorted(str(seen.effect) for seen in one.effects) for one in known}
    print(json.dumps({"dry": dry, "dry_async": dry_async, "refused": refused, "told": told,
                      "told_async": told_async, "effects": effects, "writes": writes,
                      "wrong": wrong, "left": left(), "took": time.process_time()}))  # fmt: skip


if __name__ == "__main__":
    sys.modules.setdefault(str(settings.ROOT_URLCONF), sys.modules[__name__])
    main()
