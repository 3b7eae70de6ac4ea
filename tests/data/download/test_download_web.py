"""Downloads from stores, through redirects, by signed URLs, packed: who may be asked, and what is kept of a URL."""

import gzip
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tinyllava_core.data.web import remote
from tinyllava_core.errors import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from downloads import failures, tree, zipped


def test_annotations_archives_and_tables_may_lie_in_a_store(bucket, server, manifest, call, photos):
    cat = photos["cats/chelsea.jpg"]
    server.files = {"/1.jpg": cat}
    remote.write_bytes(f"{bucket}/mine/data.json", b"[]")
    remote.write_bytes(f"{bucket}/mine/a.zip", zipped({"data/cats/images/a.jpg": cat, "data/readme": b"x"}))
    remote.write_bytes(f"{bucket}/mine/urls.csv", f"url,name\n{server.url}/1.jpg,b.jpg\n".encode())
    archive = {"url": f"{bucket}/mine/a.zip", "strip": "data/*/images"}
    images = [{"archive": archive}, {"url_table": {"url": f"{bucket}/mine/urls.csv", "min_success": 1.0}}]
    annotations = {"url": f"{bucket}/mine/data.json", "format": "llava"}
    out, result = call(manifest(annotations=annotations, images=images, allow_hosts=["127.0.0.1"]))
    assert (out / result.annotations).read_bytes() == b"[]"
    assert tree(out / "images") == {"a.jpg": cat, "b.jpg": cat}
    (attempt,) = pq.read_table(out / "attempts.parquet").to_pylist()
    assert (attempt["name"], attempt["attempt"], attempt["reason"], attempt["http_status"]) == ("b.jpg", 0, None, 200)
    assert attempt["size_bytes"] == len(cat)


def test_rows_and_redirects_reach_this_machine_only_if_the_manifest_says_so(
    tmp_path, server, answer, manifest, call, photos
):
    cat, elsewhere = photos["cats/chelsea.jpg"], server.url.replace("127.0.0.1", "127.0.0.2")
    server.files = {"/urls.csv": f"url,name\nhere.jpg,a.jpg\n{elsewhere}/secret.jpg,b.jpg\n".encode(), "/here.jpg": cat}
    server.files["/secret.jpg"] = b"what listens here alone"
    (tmp_path / "d.json").write_text("[]")
    fields = {"annotations": {"path": "d.json", "format": "llava"}}
    table = [{"url_table": {"url": f"{server.url}/urls.csv"}}]
    out, _ = call(manifest(**fields, images=table))
    assert tree(out / "images") == {"a.jpg": cat}, "beside the table's own address, which the manifest names, none"
    assert failures(out) == [("b.jpg", "private_address")]
    assert "/secret.jpg" not in [path for path, _ in server.asked]

    server.first["/a.zip"] = [answer(status=302, headers={"Location": f"{elsewhere}/b.zip"})] * 2
    server.files["/b.zip"] = zipped({"1.jpg": cat})
    archive = [{"archive": {"url": f"{server.url}/a.zip"}}]
    if sys.platform == "linux":  # elsewhere 127.0.0.2 has nobody
        with pytest.raises(BadInput, match=r"a\.zip: leads to 127\.0\.0\.2:\d+, which is not a public address"):
            call(manifest(**fields, images=archive))
        assert "/b.zip" not in [path for path, _ in server.asked]


def test_signatures_of_a_url_are_used_and_kept_nowhere(tmp_path, server, manifest, call, photos):
    signed = "?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Expires=60&X-Amz-Signature=5ec2e7&version=3"
    server.files = {f"/a.zip{signed}": zipped({"1.jpg": photos["cats/chelsea.jpg"]})}
    server.files[f"/urls.csv{signed}"] = b"url,name\n2.jpg?sig=5ec2e7,2.jpg\n3.jpg?token=5ec2e7,3.jpg\n"
    server.files["/2.jpg?sig=5ec2e7"] = photos["cats/chelsea.jpg"]
    (tmp_path / "d.json").write_text("[]")
    images = [
        {"archive": {"url": f"{server.url}/a.zip{signed}"}},
        {"url_table": {"url": f"{server.url}/urls.csv{signed}"}},
    ]
    found = manifest(annotations={"path": "d.json", "format": "llava"}, images=images)
    out, result = call(found)
    assert tree(out / "images").keys() == {"1.jpg", "2.jpg"}
    assert f"{server.url}/a.zip?version=3" in result.urls
    assert pq.read_table(out / "failures.parquet")["url"].to_pylist() == [f"{server.url}/3.jpg"]
    kept = [found.model_dump_json().encode(), repr(result).encode(), *tree(tmp_path / "out").values()]
    kept += [file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    for table in out.glob("*.parquet"):  # compressed
        kept.append(str(pq.read_table(table).to_pylist()).encode())
    assert not [data for data in kept if b"5ec2e7" in data or b"AKIAEXAMPLE" in data]


def test_a_password_in_a_url_is_refused_and_not_said_again(manifest):
    with pytest.raises(BadInput) as error:
        manifest(annotations={"url": "https://me:5ec2e7@host/d.json", "format": "llava"})
    assert "annotations.url = 'https://host/d.json': a user's name or password in a URL" in str(error.value)
    assert "5ec2e7" not in str(error.value)


@pytest.mark.parametrize("where", ["url", "path"])
def test_annotations_and_tables_packed_by_gzip_are_unpacked(tmp_path, server, manifest, call, photos, where):
    text, table = json.dumps([{"id": "1"}]).encode(), b"url,name\n" + f"{server.url}/1,1.jpg\n".encode()
    server.files = {
        "/d.json.gz": gzip.compress(text),
        "/t.csv.gz": gzip.compress(table),
        "/1": photos["cats/chelsea.jpg"],
    }
    if where == "path":
        for name in ("d.json.gz", "t.csv.gz"):
            (tmp_path / name).write_bytes(server.files.pop(f"/{name}"))
    place = {"url": f"{server.url}/{{}}", "path": "{}"}[where]
    out, result = call(
        manifest(
            annotations={where: place.format("d.json.gz"), "format": "llava"},
            images=[{"url_table": {where: place.format("t.csv.gz")}}],
            allow_hosts=["127.0.0.1"],
        )
    )
    assert result.annotations == "annotations.json"
    assert (out / result.annotations).read_bytes() == text
    assert tree(out / "images") == {"1.jpg": photos["cats/chelsea.jpg"]}
