"""Says of each route of an application whether its requests write, by what they were seen to do.

Use it before any request is copied to a new service: a copy must never charge a card twice, and a
GET may write. It is put into the application, in one or two lines, and needs nothing else.

Guarantees: no request fails of it; an endpoint is safe only once enough requests were seen by all
processes together and none wrote; the first one that writes is in the file before it is answered;
what is not known is not safe. It sees statements of SQL (Django, SQLAlchemy, sqlite3, psycopg),
caches, mail, HTTP, files, programs, connections and tasks; not what C libraries do by themselves::

    app = Flask(__name__)
    EffectsOf(app)  # from moreton.strangler.agent.servers.flask

    for one in Effects(Path(".moreton/effects.sqlite")).endpoints():
        print(one.name, one.standing(), [str(seen.effect) for seen in one.effects])
        # GET /orders/<int:id> writes ['sql UPDATE orders']
"""

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.core.effects import Effect, Harmless, Kind
from moreton.strangler.agent.core.standing import EFFECTS_HEADER, Standing, Told, read_told
from moreton.strangler.agent.drying import is_dry_run
from moreton.strangler.agent.sqlite import Effects, Endpoint, Seen

__all__ = [
    "EFFECTS_HEADER",
    "Agent",
    "Effect",
    "Effects",
    "Endpoint",
    "Harmless",
    "Kind",
    "Seen",
    "Standing",
    "Told",
    "is_dry_run",
    "read_told",
]
