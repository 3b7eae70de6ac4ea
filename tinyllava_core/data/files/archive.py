"""Unpack an archive of images from a stranger: nothing outside the folder, no links, no devices, no bombs, all or nothing.

The files appear in their folder only when every one of them has come out of the archive well: a killed call leaves a
folder beside it, which the next call clears away. It does not judge what the files are.
"""

from __future__ import annotations

import errno
import re
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tinyllava_core.data.files.archive_members import Member, foreseen, members
from tinyllava_core.durable import publish, sync, sync_folder
from tinyllava_core.errors import BadInput
from tinyllava_core.room import no_room, require_free

# Pictures hardly shrink in an archive; flat drawings as BMP or TIFF may, some hundredfold.
LARGEST_RATIO = 200  # unpacked bytes per archive byte
FREE_BYTES = 64 << 20  # allowed in any case, for small archives of very flat files
_ENTRY_BYTES = 512  # what an entry counts at least: a million empty files are a bomb too
_LOOK_EVERY_BYTES = 64 << 20  # how often the disk is asked for its room, where the archive does not say what it needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came out of one archive."""

    num_files: int
    size_bytes: int
    num_left_out: int = 0  # files that `strip` or `only` did not ask for


def unpack(
    archive: Path,
    into: Path,
    *,
    strip: str = "",
    only: Sequence[str] = (),
    on_files: Callable[[int], None] | None = None,
) -> Unpacked:
    """Unpack `archive` into the folder `into`; files get plain permissions, whatever the archive says.

    `strip`: leading folders that are taken off (`*` stands for any one); what lies elsewhere is left out. `only`: patterns
    of the names to unpack, after that, where `*` also matches `/`; none: all. Raises BadInput, naming archive and member,
    on what is no archive or is broken, a member that is absolute, climbs out with '..', is a link or a device, or exists
    already (also by another case, where the disk makes no difference), if nothing is left to unpack, if the disk is too
    small, or if it unpacks to more than LARGEST_RATIO times its size.
    """
    staging = into.parent / f".{into.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)  # of a killed call
    staging.mkdir(parents=True)
    try:
        with members(archive) as (total, entries):
            job = _Unpacking(archive, staging, _folds_case(staging), _limit(archive), on_files)
            if total is not None and not (strip or only):
                job.check(0, total)
                require_free(staging, total, archive.name)
            for member in entries:
                name = _safe(archive, member)
                inner = _stripped(name, strip)
                job.check(
                    0, member.size_bytes
                )  # also of what is passed over: tarfile would pass over bytes that are not there
                if inner is None or not (member.is_folder or _asked_for(inner, only)):
                    job.num_left_out += not member.is_folder
                elif not member.is_folder:
                    job.take(member, inner)
                elif not only:
                    job.make_folder(member, inner)
        if job.num_files == 0 and job.num_left_out:
            raise BadInput(
                f"{archive.name}: none of its {job.num_left_out} files is what the manifest asks for (strip {strip!r}, members "
                f"{list(only)}); the last one is {job.last!r}"
            )
        merge(archive.name, staging, into)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Unpacked(num_files=job.num_files, size_bytes=job.size_bytes, num_left_out=job.num_left_out)


def safe_path(name: str) -> PurePosixPath | None:
    """Give a relative path as an archive or a table names it, or None if it would leave its folder or cannot be a file."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        return None
    return path


def merge(what: str, staging: Path, into: Path) -> None:
    """Move a finished folder to its place: in one step where that is new, else file by file, after a look at all.

    Raises BadInput, naming `what`, if a file is there already.
    """
    if not into.exists() or not any(into.iterdir()):
        if into.exists():
            into.rmdir()
        publish(staging, into)
        return
    files = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if not path.is_dir()]
    for file in files:
        if (into / file).exists():
            raise BadInput(f"{what}: {str(file)!r} is there twice; give each archive its own `into` in the manifest")
    try:
        sync(staging)
        for folder in sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_dir()):
            (into / folder).mkdir(parents=True, exist_ok=True)
        for file in files:
            (staging / file).rename(into / file)
        for folder in {into / file.parent for file in files}:
            sync_folder(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{what}: one name is both a file and a folder: {error.filename}") from None


@dataclass(slots=True)
class _Unpacking:
    """One call of `unpack`: what has come out so far."""

    archive: Path
    staging: Path
    folds_case: bool
    limit_bytes: int
    on_files: Callable[[int], None] | None
    num_files: int = 0
    size_bytes: int = 0
    num_entries: int = 0
    num_left_out: int = 0
    last: str = ""
    _looked_at: int = -_LOOK_EVERY_BYTES
    _spelled: dict[str, str] = field(default_factory=dict)  # where case makes no difference: folded name -> name

    def take(self, member: Member, inner: PurePosixPath) -> None:
        """Write one file."""
        self.num_entries += 1
        self.check(self.num_entries, self.size_bytes + member.size_bytes)
        if self.size_bytes + member.size_bytes >= self._looked_at + _LOOK_EVERY_BYTES:
            require_free(self.staging, member.size_bytes, f"{self.archive.name}: {member.name!r}")
            self._looked_at = self.size_bytes
        target = self.staging / inner
        if self.folds_case:
            folded = _folded(inner)
            first = self._spelled.setdefault(folded, member.name)
            if first != member.name:
                raise BadInput(
                    f"{self.archive.name}: {first!r} and {member.name!r} differ in case alone, and this disk makes no difference; "
                    "give a workspace on a disk that does"
                )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(member, target)
        except OSError as error:
            raise _told(self.archive, member, target, error) from None
        self.size_bytes += member.size_bytes
        self.num_files += 1
        if self.on_files:
            self.on_files(self.num_files)

    def make_folder(self, member: Member, inner: PurePosixPath) -> None:
        """Make one folder that the archive names."""
        self.num_entries += 1
        self.check(self.num_entries, self.size_bytes)
        try:
            (self.staging / inner).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise BadInput(f"{self.archive.name}: one name is both a file and a folder: {error.filename}") from None
        except OSError as error:
            raise _told(self.archive, member, self.staging / inner, error) from None

    def check(self, num_entries: int, size_bytes: int) -> None:
        """Raise BadInput if so much is more than an archive of this size holds."""
        if size_bytes + num_entries * _ENTRY_BYTES > self.limit_bytes:
            raise BadInput(
                f"{self.archive.name}: unpacks to more than {self.limit_bytes} bytes, {LARGEST_RATIO} times its size: refused "
                "as a bomb"
            )


def _limit(archive: Path) -> int:
    return archive.stat().st_size * LARGEST_RATIO + FREE_BYTES


def _safe(archive: Path, member: Member) -> PurePosixPath:
    path = safe_path(member.name.rstrip("/") if member.is_folder else member.name)
    if path is None and not (member.is_folder and PurePosixPath(member.name) == PurePosixPath(".")):
        raise BadInput(f"{archive.name}: member {member.name!r} leaves the folder: refused")
    if member.fault:
        raise BadInput(f"{archive.name}: member {member.name!r} {member.fault}: refused")
    return path or PurePosixPath(".")


def _stripped(path: PurePosixPath, strip: str) -> PurePosixPath | None:
    """Take the leading folders off; None if the path does not begin with them."""
    wanted = PurePosixPath(strip).parts
    if len(path.parts) < len(wanted) or not all(map(fnmatchcase, path.parts, wanted)):
        return None
    return PurePosixPath(*path.parts[len(wanted) :])


def _asked_for(path: PurePosixPath, only: Sequence[str]) -> bool:
    return not only or any(fnmatchcase(str(path), pattern) for pattern in only)


def _write(member: Member, target: Path) -> None:
    with foreseen():
        source = member.open()
        assert source is not None, "only plain files come here"
        with source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 18)
    if (found := target.stat().st_size) != member.size_bytes:
        raise EOFError(f"{member.name!r} has {found} bytes, {member.size_bytes} declared")


def _told(archive: Path, member: Member, target: Path, error: OSError) -> Exception:
    """Make the error for a file that could not be written; other faults come back as they are."""
    if isinstance(error, FileExistsError) and target.is_file():
        return BadInput(
            f"{archive.name}: {member.name!r} is there twice; the archive is broken, or not what it should be"
        )
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return BadInput(f"{archive.name}: one name is both a file and a folder: {member.name!r}")
    if error.errno == errno.ENAMETOOLONG:
        return BadInput(
            f"{archive.name}: member {member.name[:80]!r}... has a name that this disk cannot hold: refused"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_room(target.parent, member.size_bytes, f"{archive.name}: {member.name!r}")
    return error


def _folds_case(folder: Path) -> bool:
    """Tell whether the disk of a folder holds `a` and `A` for one file."""
    probe = folder / "caseprobe"
    probe.touch()
    try:
        return (folder / "CASEPROBE").exists()
    finally:
        probe.unlink()


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", re.sub("/+", "/", str(path))).casefold()
