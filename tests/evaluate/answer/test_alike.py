"""Pictures that show the same, by an encoder: vectors are kept, the nearest and the first alike are those of a plain look at all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from inspected import inspected, write_images
from PIL import Image

from tinyllava_core.data.files.places import ImagePlaces
from tinyllava_core.evaluate.answer import alike, nearest
from tinyllava_core.evaluate.answer.alike import main
from tinyllava_core.job import AlikeJob, Pictures

PICTURES = 4


@pytest.fixture
def job(tmp_path: Path) -> AlikeJob:
    """Four scenes, one of them once more as a JPEG of half the size; the benchmark has the last scene mirrored."""
    (folder := tmp_path / "pictures").mkdir()
    chance = np.random.default_rng(1)
    scenes = [Image.fromarray(chance.integers(0, 256, (6, 6, 3), np.uint8)).resize((96, 96)) for _ in range(PICTURES)]
    for number, scene in enumerate(scenes):
        scene.save(folder / f"{number}.png")
    scenes[1].resize((48, 48)).save(folder / "again.jpg", quality=80)
    scenes[3].save(folder / "asked.png", compress_level=0)
    names = [*(f"{number}.png" for number in range(PICTURES)), "again.jpg"]
    inspected(tmp_path / "mine", "mine", [{"images": [name]} for name in names])
    (tmp_path / "asked").mkdir()
    write_images(tmp_path / "asked", "asked", ["asked.png"])
    places = ImagePlaces.one(folder)
    mine, asked = (Pictures(name=name, inspected=tmp_path / name, images=places) for name in ("mine", "asked"))
    home = {"kept": tmp_path / "kept", "out": tmp_path / "out.parquet"}
    return AlikeJob(encoder="toy-vit", pictures=mine, against=(asked,), above=0.6, device="cpu", **home)


def test_a_picture_in_other_clothes_is_found_and_its_vector_is_kept(
    job: AlikeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([job.model_dump_json()]) == 0
    rows = {row["sha256"].removeprefix("sha of "): row for row in pq.read_table(job.out).to_pylist()}
    pair = {"1.png", "again.jpg"}
    for name in pair:
        assert rows[name]["alike_to"] == f"sha of {(pair - {name}).pop()}"
        assert rows[name]["alike"] > 0.6
        assert rows[name]["first"] == "sha of 1.png"
    assert rows["0.png"]["first"] == "sha of 0.png"
    assert rows["0.png"]["alike"] < 0.6
    assert rows["3.png"]["benchmark_alike"] == pytest.approx(1, abs=1e-3)
    assert rows["3.png"]["benchmark_alike_to"] == "asked/asked.png"
    assert rows["0.png"]["benchmark_alike"] < 0.6
    before = job.out.read_bytes()
    monkeypatch.setattr(alike, "decode_named", lambda *_: pytest.fail("looked at once more"))
    assert main([job.model_dump_json()]) == 0
    assert job.out.read_bytes() == before


def test_a_picture_is_seen_as_training_sees_it(job: AlikeJob, tmp_path: Path) -> None:
    """Of 16 bits, which inspection mends: read as it stands, nearly all of it would be white."""
    grey = Image.open(tmp_path / "pictures" / "1.png").convert("L")
    grey.save(tmp_path / "pictures" / "0.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "pictures" / "2.png")
    assert main([job.model_dump_json()]) == 0
    rows = {row["sha256"].removeprefix("sha of "): row for row in pq.read_table(job.out).to_pylist()}
    assert (rows["2.png"]["alike"], rows["2.png"]["alike_to"]) == (pytest.approx(1, abs=1e-3), "sha of 0.png")


def test_a_picture_that_is_gone_and_a_benchmark_without_pictures_are_told(
    job: AlikeJob, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "pictures" / "2.png").unlink()
    assert main([job.model_dump_json()]) == 2
    assert "error: mine: picture 2.png is gone" in capsys.readouterr().err
    write_images(tmp_path / "asked", "asked", [])
    write_images(tmp_path / "mine", "mine", ["1.png"])
    assert main([job.model_dump_json()]) == 0
    (row,) = pq.read_table(job.out).to_pylist()
    assert (row["alike"], row["alike_to"], row["benchmark_alike"], row["benchmark_alike_to"]) == (None,) * 4


def test_evened_vectors_have_no_direction_more_than_another() -> None:
    """Many vectors around a middle, one direction ten times as wide: their spread becomes the same in all, but for a tenth held back."""
    torch.manual_seed(0)
    seen = torch.randn(4000, 4) * torch.tensor([10.0, 1, 1, 1]) + 50
    found = nearest.evened(seen, seen)
    np.testing.assert_allclose(found.norm(dim=1), 1, atol=1e-5)
    assert abs(float(found.mean())) < 0.02
    variances = np.linalg.eigvalsh(np.cov(found.numpy().T))
    # 1 / (1 + 2.575) and 100 / (100 + 2.575) of the variances stay: 0.28 and 0.97; then lengths are made one
    assert variances[-1] / variances[0] == pytest.approx(0.975 / 0.28, rel=0.4)


def test_the_nearest_and_the_first_alike_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 7, of 40 vectors in three dimensions, so that many are alike; and one is there twice."""
    monkeypatch.setattr(nearest, "BLOCK", 7)
    torch.manual_seed(0)
    of = torch.nn.functional.normalize(torch.randn(40, 3), dim=1)
    of[30] = of[2]
    cosines = (of.double() @ of.double().T).numpy()
    np.fill_diagonal(cosines, -2)
    value, place = nearest.nearest(of, of, but_itself=True)
    np.testing.assert_allclose(value.numpy(), cosines.max(1), atol=1e-6)
    np.testing.assert_allclose(cosines[np.arange(40), place.numpy()], cosines.max(1), atol=1e-6)
    assert nearest.nearest(of[:3], of[:0])[1].tolist() == [-1, -1, -1]
    stays: list[int] = []
    wanted = []
    for number in range(40):
        first = next((one for one in stays if cosines[number, one] >= 0.9), number)
        stays += [number] if first == number else []
        wanted.append(first)
    assert nearest.first_alike(of, 0.9).tolist() == wanted
    assert len(stays) < 40
    assert wanted[30] in (2, wanted[2])
