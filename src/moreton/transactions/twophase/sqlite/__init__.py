"""An SQLite file as a participant, though SQLite itself cannot prepare.

A transaction is run for real and its effect noted, row by row. To prepare, the effect is taken
back, and written down beside the data, in one commit of the same file: the rows that are to be, and
that the file waits. While it waits, triggers refuse every write to every table, of every program,
so that nothing can come between; readers see what was. To commit, the rows are put in place and the
note is removed, in one commit. All of it is in the one file: a kill at any moment leaves it in one
of the three states, and a copy of the file is a copy of all.
"""

from moreton.transactions.twophase.sqlite.participant import SqliteParticipant

__all__ = ["SqliteParticipant"]
