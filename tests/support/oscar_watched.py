"""The shop with the agent in it: says what can be asked, as a line of JSON, and serves it.

`python oscar_watched.py PORT`, with `SHOP_STATE` and a database in it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "oscar"
sys.path[:0] = [str(EXAMPLE), str(Path(__file__).parents[1])]
os.environ["DJANGO_SETTINGS_MODULE"] = "support.oscar_settings"


def main() -> None:
    import django  # noqa: PLC0415 - after the settings are known

    django.setup()

    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415
    from django.db import connections  # noqa: PLC0415
    from django.urls import get_resolver  # noqa: PLC0415
    from gunicorn.app.base import (  # type: ignore[import-untyped]  # noqa: PLC0415
        BaseApplication,
    )

    from support.oscar_routes import asked  # noqa: PLC0415
    from support.oscar_stock import stock  # noqa: PLC0415

    made = stock()
    connections.close_all()
    application = get_wsgi_application()

    class Served(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            options = {"bind": f"127.0.0.1:{sys.argv[1]}", "threads": 4, "keepalive": 75,
                       "preload_app": True, "loglevel": "warning"}  # fmt: skip
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return application

    routes = asked(get_resolver(), made["keys"])
    print(json.dumps({"routes": routes, "sessions": made["sessions"]}), flush=True)
    Served().run()


main()
