"""Records that keep their places in a plan and weigh nothing. It lays out nothing, and asks no database.

A record left out of a mix moves all that follow it to other steps, and another order is most of the difference between two
trainings. A void record is run like any other and supervises nothing: the mean of its step is over its neighbours' tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tinyllava_core.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Which records weigh nothing."""

    record_ids: frozenset[str] = frozenset()
    named_in: str = ""  # for messages: a file's path, or the query
    all_there: bool = (
        True  # False: ids that are not in the mix are passed over, as a query over all of a source gives them
    )

    @property
    def sha256(self) -> str | None:
        """Hash the ids; None of none."""
        text = "".join(f"{record_id}\n" for record_id in sorted(self.record_ids))
        return sha256(text.encode()).hexdigest() if self.record_ids else None

    def check_in(self, record_ids: pa.ChunkedArray) -> None:
        """Raise BadInput if an id is none of the mix's: a record that is not there would be left out without a trace."""
        missing = sorted(self.record_ids - set(record_ids.to_pylist())) if self.record_ids else []
        if missing and (self.all_there or len(missing) == len(self.record_ids)):
            raise BadInput(
                f"void ({self.named_in}): {len(missing)} of {len(self.record_ids)} ids are no record of this mix "
                f"(the first: {missing[0]!r}); expected record_id of view mixes, as in toy-chat-00000017"
            )

    def of(self, planned: pa.Table) -> pa.Table:
        """Mark the places of the void records in a plan, beside those that are void, and take their supervised tokens from it."""
        if not self.record_ids:
            return planned
        void = pc.is_in(planned["record_id"], pa.array(sorted(self.record_ids)))
        if "void" in planned.column_names:
            void, planned = pc.or_(void, planned["void"]), planned.drop_columns(["void"])
        counted = pc.if_else(void, pa.scalar(0, pa.int32()), planned["num_supervised"])
        where = planned.schema.get_field_index("num_supervised")
        return planned.set_column(where, planned.schema.field(where), counted).append_column("void", void)


NOTHING = Void()


def num_void(planned: pa.Table) -> int:
    """Count the places that weigh nothing."""
    return (pc.sum(planned["void"]).as_py() or 0) if "void" in planned.column_names else 0


def read_ids(path: Path) -> Void:
    """Read a file with a record_id a line. Raises BadInput if it cannot be read or holds none."""
    if path.exists() and not path.is_file():
        raise BadInput(f"void: {path}: is no regular file; expected a text file, a record_id a line")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"void: {path}: cannot be read ({error}); expected a text file, a record_id a line") from None
    return of_ids(lines, str(path))


def of_ids(record_ids: Iterable[str], named_in: str, all_there: bool = True) -> Void:
    """Collect ids. Raises BadInput if there is none: nothing would be voided, in silence."""
    found = frozenset(filter(None, (one.strip() for one in record_ids)))
    if not found:
        raise BadInput(f"void ({named_in}): names no record; expected at least one record_id, or void: null")
    return Void(record_ids=found, named_in=named_in, all_there=all_there)
