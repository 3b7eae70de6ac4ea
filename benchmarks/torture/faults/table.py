"""The faults, by name: those of the data stages, then those of a training."""

from __future__ import annotations

import signal
from collections.abc import Callable

from benchmarks.torture.faults import around, meanwhile, spoilt
from benchmarks.torture.faults.place import Place

Fault = Callable[[Place], str]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
ANYWHERE: dict[str, Fault] = {  # what a run meets in its data stages and in a training alike
    "strange path": around.a_strange_path,
    "64 files": around.with_64_file_descriptors,
    "TMPDIR full": around.with_a_full_temporary_folder,
    "no /dev/shm": around.without_shared_memory,
    "64 kB of /dev/shm": around.with_little_shared_memory,
    "clock back": around.with_the_clock_set_back,
    "two at once": meanwhile.two_at_once,
    **{number.name: meanwhile.a_signal(number) for number in SIGNALS},
    "four kills in a row": meanwhile.kills_in_a_row,
    "cancelled in Prefect": meanwhile.cancelled,
    "server killed": meanwhile.without_its_server,
}
DATA: dict[str, Fault] = {
    "question mark": around.a_path_with_a_question_mark,
    "behind a link": around.behind_a_link,
    "other disks": around.another_file_system,
    "no HOME": around.without_home,
    "locale C": around.in_locale_c,
    "read-only": around.on_a_read_only_disk,
    **{f"read-only {folder}": around.with_a_read_only(folder) for folder in ("artifacts/shard", "lineage")},
    "another user's": around.in_another_users_workspace,
    **ANYWHERE,
    "two recipes at once": meanwhile.two_recipes_at_once,
    **{f"disk of {size}": around.a_full_disk(size) for size in ("100k", "400k", "900k")},
    **{f"{harm} in {stage}/{file}": spoilt.changed(stage, file, harm) for harm in ("bit", "tail") for stage, file in spoilt.DATA},
    "bit in a fragment": spoilt.a_changed_fragment,
    "rewritten fragment": spoilt.a_rewritten_fragment,
}  # fmt: skip
TRAINING: dict[str, Fault] = {
    **ANYWHERE,
    **{f"{leave // 1_000_000} MB left": around.a_disk_that_fills(leave) for leave in (1_000_000, 12_000_000)},
    **{f"{harm} in {stage}/{file}": spoilt.changed(stage, file, harm) for harm in ("bit", "tail") for stage, file in spoilt.TRAINING},
    **{f"{harm} in a state": spoilt.a_changed_state(harm) for harm in ("bit", "tail")},
    "other ranks": meanwhile.on_another_number_of_ranks,
}  # fmt: skip
ON_TWO: dict[str, Fault] = {number.name: meanwhile.a_signal(number) for number in SIGNALS}


def of_training(fault: Fault) -> Fault:
    """Try a fault on a training."""
    return _at(fault, lambda place: place.training)


def of_two_ranks(fault: Fault) -> Fault:
    """Try a fault on a training on two ranks."""
    return _at(fault, lambda place: place.training.on_two_ranks)


def _at(fault: Fault, where: Callable[[Place], Place]) -> Fault:
    def tried(place: Place) -> str:
        return fault(where(place))

    tried.__doc__ = fault.__doc__
    return tried


FAULTS: dict[str, Fault] = {
    **DATA,
    **{f"training: {name}": of_training(fault) for name, fault in TRAINING.items()},
    **{f"two ranks: {name}": of_two_ranks(fault) for name, fault in ON_TWO.items()},
}
