"""The files of measured circuits that the tables of transfers are made from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.tables.edge_curves import ABSOLUTE
from circuit_transfer.tables.edge_transfers import of_edges, of_random_edges

Paths = Iterable[Path | str]


@dataclass(frozen=True)
class MeasuredFile:
    """A file of measured circuits.

    Attributes:
        kind: of its circuits, see `tables.curves.KEYS`.
        path: the file.
        rows: what returns the rows that are wanted of its frame; None for all.
    """

    kind: str
    path: Path | str
    rows: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return its rows; the file must have some columns.

        Raises:
            ValueError: the file is damaged, or a column is missing.
        """
        if self.rows is None:
            return read_frame(self.path, columns)
        needed = (*columns, "n_edges", "control", "ranking", "own_size")
        return self.rows(read_frame(self.path, needed))


def edge_files(
    gold: Paths, random: Paths, aligned: Paths, *, ranking: str = ABSOLUTE
) -> Iterator[MeasuredFile]:
    """Yield the files of circuits of edges whose scores are transferred.

    Args:
        gold: circuits of edges of the methods that are transferred.
        random: those of random rankings of edges.
        aligned: those of transfer, and the controls.
        ranking: of the gold circuits, `absolute` or `signed`.
    """
    for path in gold:
        yield MeasuredFile("gold", path, partial(of_edges, ranking=ranking))
    for path in random:
        yield MeasuredFile("random", path, of_random_edges)
    for path in aligned:
        yield MeasuredFile("aligned", path)
