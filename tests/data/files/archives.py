"""Archives of every kind, made for a test, and what came out of one."""

import io
import tarfile
import zipfile

import pyarrow as pa

FILES = {"a.jpg": b"first", "deep/er/b.jpg": b"second one", "empty": b""}


def make_zip(path, files, **info):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(member, key, value)
            zipped.writestr(member, data)
    return path


def make_tar(path, files, mode="w", **info):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in info.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return path


def make_zst(path, files):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pa.output_stream(str(path), compression="zstd") as packed:
        packed.write(plain.getvalue())
    return path


def make(kind, path, files):
    if kind in ("zip", "zst"):
        return make_zip(path, files) if kind == "zip" else make_zst(path, files)
    return make_tar(path, files, kind)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
