"""PostgreSQL's statistics during a bulk load.

A table that was filled a moment ago looks empty to the planner until autovacuum comes round, and the plans it makes for
look-ups and foreign keys then (kept for the whole session) read the table from end to end: a first sync becomes fifty
times slower. So whoever loads in bulk says so, and the tables are analysed as they grow.
"""

FIRST = 50  # rows: below that nobody notices
_written: dict[tuple[str, ...], int] = {}


def loaded(cursor, rows: int, *tables: str) -> None:
    """`rows` have been written to these tables. Analyses them after the first page, and at each tenfold."""
    if rows < FIRST:
        return
    before = _written.get(tables, 0)
    _written[tables] = before + rows
    step = FIRST
    while step <= before:
        step *= 10
    if before + rows >= step:
        cursor.execute(f"ANALYZE (SKIP_LOCKED) {', '.join(tables)}")
