"""Start the shop: `python -m shop.start PORT`. The first start makes and fills the database."""

import os
import sys
from pathlib import Path


class _NoMigrations(dict[str, None]):
    """Tells Django that no application has migrations."""

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: str) -> None:
        return None


def prepare() -> None:
    """Make the database beside its place and move it there whole, so that a stop loses nothing."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    import django  # noqa: PLC0415 - after the settings are known
    from django.apps import apps  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415

    final = Path(settings.DATABASES["default"]["NAME"])
    if final.exists():
        return
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    making = final.with_suffix(".making")
    making.unlink(missing_ok=True)
    settings.DATABASES["default"]["NAME"] = making
    django.setup()

    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.test import override_settings  # noqa: PLC0415

    from shop.seed import seed  # noqa: PLC0415

    # The tables as they are after all migrations, then the migrations marked as done: 14 s less.
    with override_settings(MIGRATION_MODULES=_NoMigrations()):
        call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("migrate", fake=True, verbosity=0)
    # All books go into the index at once: after each, it would be written anew.
    apps.get_app_config("haystack").signal_processor.teardown()
    books = seed()
    call_command("update_index", verbosity=0)
    print(f"the shop has {books} books", flush=True)
    connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    making.rename(final)


def main() -> None:
    """Prepare in a child, then become gunicorn."""
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    child = os.fork()
    if child == 0:
        prepare()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit("the shop's database could not be made; see the lines above")
    os.execv(  # noqa: S606 - gunicorn takes this process's place, and with it its signals
        sys.executable,
        [
            sys.executable,
            *("-m", "gunicorn", "shop.wsgi"),
            *("--bind", f"127.0.0.1:{port}"),
            *("--workers", "1", "--threads", "4"),
            *("--keep-alive", "75", "--log-level", "warning"),
        ],
    )


if __name__ == "__main__":
    main()
