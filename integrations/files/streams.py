"""Dropped files as a stream: pieces of files, a page each, so that a file is fetched on where it was cut off."""

from collections.abc import Iterator
from typing import Any

from ..kit.records import FilePiece
from ..kit.streams import Context, Page, Stream


class Drops:
    """New files of a place, oldest first. The cursor knows which versions lie there already, and the file under way.

    A page is one piece of 64 KB: what is gathered before it is saved stays within some 30 MB.
    """

    def walk(self, client: Any, stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        client.call()
        lying = client.place.files()
        seen = {path: mark for path, mark in (cursor.get("seen") or {}).items()}
        there = {file.path for file in lying}
        seen = {path: mark for path, mark in seen.items() if path in there}
        at = cursor.get("at") or {}
        fresh = [file for file in lying if seen.get(file.path) != file.mark]
        most = client.most
        for number, file in enumerate(fresh):
            name = f"{file.path}|{file.mark}"
            going_on = at.get("path") == file.path and at.get("mark") == file.mark
            start = int(at["start"]) if going_on else 0

            def page(piece: FilePiece, done: int, number: int = number) -> Page:
                known = {**seen, piece.path: piece.external_id.rpartition("|")[2]} if piece.last else seen
                under_way = {} if piece.last else {"path": piece.path, "mark": piece.external_id.rpartition("|")[2],
                                                   "start": done}  # fmt: skip
                return Page([piece], {"seen": known, "at": under_way}, number + piece.last, len(fresh), piece.path)

            def whole(problem: str, start: int = start, file: Any = file, name: str = name) -> FilePiece:
                return FilePiece(name, file.path, start, b"", file.size, True, client.place.came, problem)

            if file.size > most or file.size == 0:
                why = "The file is empty." if file.size == 0 else f"The file is larger than {most // 2**20} MB."
                yield page(whole(why), 0)
                seen[file.path] = file.mark
                continue
            client.call()
            try:
                for data in client.place.read(file, start):
                    client.alive()
                    end = start + len(data)
                    yield page(
                        FilePiece(name, file.path, start, data, file.size, end >= file.size, client.place.came), end
                    )
                    start = end
                if start < file.size:
                    continue  # it became shorter while we read: it is another file by now
            except FileNotFoundError:
                continue  # it was replaced or taken away since we looked
            seen[file.path] = file.mark
        yield Page([], {"seen": seen, "at": {}}, len(fresh), len(fresh))


class Files(Stream):
    name, title, path = "files", "Dropped files", ""
    record = FilePiece
    pages = Drops()
    interval_s = 300

    @staticmethod
    def row_id(row: Any) -> str:
        return str(row.external_id)

    @staticmethod
    def parse(row: Any, context: Context) -> FilePiece:
        return row
