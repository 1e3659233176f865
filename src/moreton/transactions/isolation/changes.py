"""Changes that may be made in any order: added and subtracted where the number is, never set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from moreton.transactions.isolation.columns import check_columns, check_key, check_table, matches
from moreton.transactions.isolation.errors import NoRow
from moreton.transactions.isolation.running import run, run_async
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

Amount = int | Decimal


@dataclass(frozen=True, slots=True)
class Change:
    """Adds *amounts* to columns of the one row of *table* that has *key*.

    Two that come together both count, in whichever order, and an `inverse` takes back its own
    alone, whatever others did meanwhile. *at_least* and *at_most* bound the columns: a change
    that would leave them is not made. A repeated one counts again: ask a barrier first::

        Change("accounts", {"id": 7}, {"cents": -500}, at_least={"cents": 0}).apply(connection)

    What was added may be spent by others before it is taken back: add what may be taken back by
    its pivot, or by an undoing without a bound. Amounts are whole numbers or `Decimal`, as floats
    depend on the order of adding.
    """

    table: str
    key: Mapping[str, Any]
    amounts: Mapping[str, Amount]
    at_least: Mapping[str, Amount] = field(default_factory=dict)
    at_most: Mapping[str, Amount] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_table(self.table)
        check_key(self.key)
        check_columns("amounts", self.amounts)
        for what in ("amounts", "at_least", "at_most"):
            for name, amount in getattr(self, what).items():
                if not isinstance(amount, Amount) or isinstance(amount, bool):
                    raise TypeError(f"{what} of {name} is {amount!r}: give an int or a Decimal")
                if name not in self.amounts:
                    raise ValueError(f"{what} bounds {name!r}, which is not changed: leave it out")

    @property
    def inverse(self) -> Change:
        """What takes it back: without bounds, as an undoing must not be refused."""
        amounts = {name: -amount for name, amount in self.amounts.items()}
        return Change(self.table, self.key, amounts)

    def apply(self, connection: Any) -> bool:
        """Make it; false, and nothing changed, where a bound forbids it.

        Raises `NoRow` where there is no such row, and `ValueError` where several have the key:
        roll back then.
        """
        return run(connection, self._applied)

    async def apply_async(self, connection: Any) -> bool:
        """As `apply`."""
        return await run_async(connection, self._applied)

    def _applied(self, _: Dialect) -> Script[bool]:
        sets = ", ".join(f"{name} = {name} + ?" for name in self.amounts)
        bounds = "".join(f" AND {name} + ? >= ?" for name in self.at_least)
        bounds += "".join(f" AND {name} + ? <= ?" for name in self.at_most)
        limits = [*self.at_least.items(), *self.at_most.items()]
        values = [
            *self.amounts.values(),
            *self.key.values(),
            *(each for name, limit in limits for each in (self.amounts[name], limit)),
        ]
        where = f"WHERE {matches(self.key)}"
        (rows,) = yield [
            Statement(
                f"UPDATE {self.table} SET {sets} {where}{bounds} "
                f"RETURNING {', '.join(self.amounts)}",
                values,
            )
        ]
        if len(rows) > 1:
            raise ValueError(
                f"{len(rows)} rows of {self.table} have {dict(self.key)}: each would be changed; "
                "give a key that names one, and roll back"
            )
        if not rows:
            (there,) = yield [
                Statement(
                    f"SELECT {', '.join(self.amounts)} FROM {self.table} {where}",
                    list(self.key.values()),
                )
            ]
            if there and None not in there[0]:
                return False
        if not rows or None in rows[0]:
            raise NoRow(table=self.table, key=dict(self.key))
        return True
