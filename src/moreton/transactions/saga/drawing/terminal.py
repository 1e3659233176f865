"""A story for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from moreton.transactions.saga.drawing.story import Story, span


def lines_of(story: Story) -> Iterator[str]:
    """The story in plain lines; who has colours may add them by the marks."""
    row = story.row
    queue = f", in queue {row.queue}" if row.queue and row.ended is None else ""
    yield f"{row.id}: {row.name} version {row.version}, {row.status}{queue}"
    if row.reason:
        yield f"  {row.reason}"
    yield ""
    widest = max((len(line.step) for line in story.lines), default=0)
    for line in story.lines:
        yield f"{span(line.after):>9}  {line.mark} {line.step:<{widest}}  {line.what}".rstrip()
    if story.question:
        yield ""
        yield f"A person has to decide. {story.question}."
        for option in story.options:
            yield f"  moreton saga {option.decision} {row.id}"
            yield f"      {option.meaning}"
