"""A small tree in the layouts of the real data sets, with every fault, repair and note planted at least once.

`plant(root)` writes it and gives its sources, by name; each knows what is to become of each of its records. The same
bytes every time, a few hundred kilobytes, no network. Use: inspection, download to plan, kill tests.

    sources = plant(tmp_path)
    chat = sources["planted-chat"]
    folder, result = chat.downloaded()      # as stage `download` leaves it
    inspect_source(folder, result, "llava", 1.0, out, images=chat.images, limits=LIMITS)
    chat.cases[3].reason                    # what record 3 is to be dropped for; None: good

chat.manifest is the path of a manifest that a recipe may name.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tinyllava_core.data.files.places import ImagePlace, ImagePlaces
from tinyllava_core.data.record.reason import Note, Reason, Repair
from tinyllava_core.results import DownloadResult
from tinyllava_core.settings.inspect import Inspect

LIMITS = Inspect(max_pixels=100_000, max_aspect=20, min_side=8, max_turns=8, max_chars=2_000)
FOLDERS = ("coco", "gqa", "ocr_vqa", "textvqa", "vg", "sam", "llava", "web-celebrity", "web-landmark", "wikiart")
COCO, GQA, OCR = "coco/train2017/", "gqa/images/", "ocr_vqa/images/"
LCS, SAM, STAR = "llava/llava_pretrain/images/", "sam/images/", "web-celebrity/images/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One record as the annotation file has it, and what is to become of it under LIMITS."""

    record: Any
    reason: Reason | None = None
    repairs: tuple[Repair, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedSource:
    """One source of the tree."""

    name: str
    home: Path
    annotations: Path
    images: ImagePlaces
    manifest: Path
    cases: list[Case] = field(default_factory=list)

    @property
    def good(self) -> list[int]:
        """The places of the records that are to be kept."""
        return [index for index, case in enumerate(self.cases) if case.reason is None]

    def downloaded(self) -> tuple[Path, DownloadResult]:
        """Give the source as stage `download` leaves it: folder and result."""
        return self.home, download_result(self.name, self.annotations, self.home)


def download_result(name: str, annotations: Path, home: Path) -> DownloadResult:
    """Say what stage `download` says of local files; its counts, which nobody reads here, are 0."""
    none = {kept.name: 0 for kept in fields(DownloadResult)}
    words = {"source": name, "kind": "source", "licence": None, "urls": "", "annotations_sha256": "0"}
    return DownloadResult(**none | words | {"annotations": str(annotations), "image_root": str(home)})


def plant(root: Path, more: int = 0) -> dict[str, PlantedSource]:
    """Write the tree under `root`; `more` good records, each with a picture of its own, behind those of planted-chat."""
    for path, data in _files().items():
        _put(root / path, data)
    chat = [*_good_chat(), *_faulty_turns(), *_faulty_images(), *_odd_images(), *_noted()]
    for number in range(more):
        path = f"{COCO}{500_000 + number:012d}.jpg"
        _put(root / path, jpeg(1000 + number))
        chat.append(Case(record=chatted(path, "<image>\nWhich number is it?", f"Number {number}.")))
    return {
        "planted-captions": _source(root, "planted-captions", _captions(), home=root / "llava/llava_pretrain/images"),
        "planted-chat": _source(root, "planted-chat", chat),
        "planted-share": _source(root, "planted-share", _share()),
    }


def photo(number: int, width: int = 48, height: int = 36) -> Image.Image:
    """Make a soft many-coloured picture, another one for each number."""
    spots = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(number: int, **options: Any) -> bytes:
    """Give a photo's JPEG bytes."""
    return written(photo(number), "JPEG", **options)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Give an image's bytes in a format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chatted(image: str | list[str] | None, *texts: str, **more: Any) -> dict[str, Any]:
    """Make a record of LLaVA's shape; turns from human and gpt in alternation. Its id is its picture's number, as in COCO rows."""
    turns = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]
    known = {} if image is None else {"image": image}
    first = image[0] if isinstance(image, list) and image else image
    return {"id": Path(first).stem if isinstance(first, str) else "aBcDeFg_0"} | known | {"conversations": turns} | more


def _source(root: Path, name: str, cases: list[Case], home: Path | None = None) -> PlantedSource:
    annotations = root / "text_files" / f"{name}.json"
    # one record a line, as the published files are not, so that a person can find a fault; real line ends are escaped
    text = "[\n" + ",\n".join(json.dumps(case.record) for case in cases) + "\n]\n"
    _put(annotations, text.encode())
    if home is not None:
        folders = [{"folder": str(home)}]
        places = [ImagePlace(folder=home)]
    else:
        folders = [{"folder": str(root / prefix), "prefix": prefix} for prefix in FOLDERS]
        folders[2]["try_extensions"] = [".gif"]  # type: ignore[assignment]
        places = [ImagePlace(folder=root / prefix, prefix=prefix) for prefix in FOLDERS]
        places[2] = ImagePlace(folder=root / "ocr_vqa", prefix="ocr_vqa", try_extensions=(".gif",))
    body = {"kind": "source", "name": name, "licence": "CC0-1.0", "images": folders}
    body["annotations"] = {"path": str(annotations), "format": "llava", "count": len(cases)}
    manifest = root / "manifests" / f"{name}.yaml"
    _put(manifest, yaml.safe_dump(body, sort_keys=False).encode())
    return PlantedSource(
        name=name,
        home=home or root,
        annotations=annotations,
        images=ImagePlaces(places=tuple(places)),
        manifest=manifest,
        cases=cases,
    )


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _files() -> dict[str, bytes]:
    """Every image file of the tree, by its path."""
    whole = jpeg(1, quality=90)
    png = written(photo(2), "PNG")
    depth = np.linspace(0, 65535, 48 * 36).reshape(36, 48).astype(np.uint16)
    see_through = photo(3).convert("RGBA")
    see_through.paste((255, 0, 0, 0), (0, 0, 24, 36))
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    frames = {"save_all": True, "append_images": [photo(5)], "duration": 100}
    return {
        # good
        f"{COCO}000000000009.jpg": whole,
        f"{COCO}000000000025.jpg": jpeg(10),
        f"{GQA}2370799.jpg": jpeg(11, progressive=True),
        "textvqa/train_images/0054c91397f2fe05.jpg": written(photo(12).convert("L"), "JPEG"),
        "vg/VG_100K/2.jpg": jpeg(13),
        "vg/VG_100K_2/1.jpg": jpeg(14),
        f"{OCR}039592986.png": png,
        f"{LCS}00453/004539375.jpg": jpeg(15),
        f"{LCS}00000/000000001.jpg": jpeg(16),
        f"{SAM}sa_545504.jpg": jpeg(17),
        f"{STAR}Robert_Downey_Jr..jpg": jpeg(18),  # the dots merge samples where they get into WebDataset keys
        f"{STAR}Robert_Downey_Jr.2.jpg": jpeg(19),
        "web-landmark/images/St._Peter's_Basilica.jpg": jpeg(20),
        "wikiart/images/vincent-van-gogh_the-starry-night-1889(1).jpg": jpeg(21),
        # faulty
        f"{COCO}000000000101.jpg": b"",
        "vg/VG_100K_2/2405.jpg": whole[: len(whole) // 2],
        f"{OCR}1437717772.jpg": b"\xff\xd8\xff\xe0" + b"\0" * 60 + b"\xff\xd9",
        f"{OCR}0001048791.jpg": b"<html><title>404 Not Found</title></html>",
        f"{SAM}sa_1.jpg": written(Image.new("1", (500, 400)), "PNG"),
        f"{GQA}1.jpg": written(Image.new("RGB", (4, 30)), "PNG"),
        f"{GQA}2.jpg": written(photo(30, 300, 10), "JPEG"),
        f"{GQA}3.tif": written(photo(31).convert("F"), "TIFF"),
        # to be mended
        f"{OCR}155611804.gif": written(photo(4), "GIF", **frames),
        f"{OCR}031237.jpg": png,
        f"{OCR}cmyk.jpg": written(photo(6).convert("CMYK"), "JPEG"),
        f"{OCR}palette.png": written(photo(7).convert("P"), "PNG"),
        f"{OCR}deep.png": written(Image.fromarray(depth), "PNG"),
        f"{OCR}bits.png": written(photo(8).convert("1"), "PNG"),
        f"{OCR}alpha.png": written(see_through, "PNG"),
        f"{OCR}cover.bmp": written(photo(9), "BMP"),
        # remarkable
        f"{COCO}000000000061.jpg": jpeg(22, exif=turned),
    }


def _good_chat() -> list[Case]:
    short = "\nAnswer the question using a single word or phrase."
    return [
        Case(record=chatted(f"{COCO}000000000009.jpg", f"<image>\nHow many bowls?{short}", "3", "What colour?", "Red")),
        Case(record=chatted(f"{COCO}000000000009.jpg", "Is it a kitchen?\n<image>", "Yes")),  # the id is there twice
        Case(record=chatted(f"{GQA}2370799.jpg", f"<image>\nIs it day or night?{short}", "Day")),
        Case(record=chatted("vg/VG_100K/2.jpg", "<image>\nDescribe [0.1,0.2,0.5,0.6].", "a café ❤")),
        Case(record=chatted("vg/VG_100K_2/1.jpg", "<image>\nDescribe it.", "trees")),
        Case(record=chatted("textvqa/train_images/0054c91397f2fe05.jpg", "<image>\nReference OCR token: GO", "Go.")),
        Case(record=chatted(f"{OCR}039592986.png", "<image>\nWho wrote this book?", "Jane Doe")),
        Case(record=chatted(None, "Write a haiku.", "Five, then seven, five.", model="")),
        Case(record=chatted([f"{COCO}000000000009.jpg", f"{COCO}000000000025.jpg"], "<image><image>Same?", "No.")),
    ]


def _faulty_turns() -> list[Case]:
    def turns(*pairs: tuple[str, str]) -> dict[str, Any]:
        return {"id": "x", "conversations": [{"from": role, "value": text} for role, text in pairs]}

    human, gpt = ("human", "Well?"), ("gpt", "Well.")
    coco = f"{COCO}000000000025.jpg"
    return [
        Case(record="no record", reason=Reason.MALFORMED),
        Case(record={"id": "x", "conversations": [{"from": "human", "value": 5}]}, reason=Reason.MALFORMED),
        Case(record=chatted(None, "\ud83d", "Half a pair."), reason=Reason.INVALID_TEXT),
        Case(record=chatted(coco), reason=Reason.NO_TURNS),
        Case(record=turns(("observer", "Be kind."), human, gpt), reason=Reason.UNKNOWN_ROLE),
        Case(record=turns(human, gpt, ("system", "Be kind."), human, gpt), reason=Reason.SYSTEM_NOT_FIRST),
        Case(record=turns(human, ("function_call", "look()"), gpt), reason=Reason.TOOL_TURN),
        Case(record=turns(("system", "Be kind."), human, gpt)),
        Case(record=turns(gpt), reason=Reason.FIRST_TURN_NOT_USER),
        Case(record=turns(human, gpt, gpt), reason=Reason.ROLES_DO_NOT_ALTERNATE),
        Case(record=turns(human), reason=Reason.NO_ANSWER),
        Case(record=chatted(coco, "<image>\nWhat?", " \n"), reason=Reason.EMPTY_ANSWER),
        Case(record=chatted(coco, "<image>\nWhat?", "An <image>."), reason=Reason.IMAGE_TAG_IN_ANSWER),
        Case(record=chatted(None, "What does <image> mean in HTML?", "x"), reason=Reason.IMAGE_TAG_MISMATCH),
        Case(record=chatted(None, *["Well?", "Well."] * 5), reason=Reason.TOO_MANY_TURNS),
        Case(record=chatted(None, "Well?", "Well. " * 400), reason=Reason.TOO_MANY_CHARACTERS),
        Case(record=turns(gpt, human, gpt), repairs=(Repair.LEADING_ANSWER_REMOVED,)),
        Case(record=turns(human, gpt, human), repairs=(Repair.TRAILING_QUESTION_REMOVED,)),
        Case(record=chatted(coco, "What?", "Fruit."), repairs=(Repair.TAG_ADDED,)),
        Case(
            record=chatted(coco, "<image>\nWhat?", "Fruit.", "<image>\nSure?", "Yes."),
            repairs=(Repair.EXTRA_TAGS_REMOVED,),
        ),
    ]


def _faulty_images() -> list[Case]:
    pairs = [
        ("../../secret.jpg", Reason.IMAGE_OUTSIDE_ROOT),
        ("/coco/train2017/000000000009.jpg", Reason.IMAGE_OUTSIDE_ROOT),
        (f"{STAR}Choi_Min-sik.jpg", Reason.MISSING_IMAGE),
        ("imagenet/1.jpg", Reason.MISSING_IMAGE),
        (f"{COCO}{'0' * 300}.jpg", Reason.UNREADABLE_IMAGE),  # File name too long
        (f"{COCO}000000000101.jpg", Reason.EMPTY_IMAGE),
        (f"{OCR}0001048791.jpg", Reason.NOT_AN_IMAGE),
        (f"{SAM}sa_1.jpg", Reason.IMAGE_TOO_LARGE),
        (f"{GQA}1.jpg", Reason.IMAGE_TOO_SMALL),
        (f"{GQA}2.jpg", Reason.ABSURD_ASPECT),
        ("vg/VG_100K_2/2405.jpg", Reason.TRUNCATED_IMAGE),
        (f"{OCR}1437717772.jpg", Reason.BROKEN_IMAGE),
        (f"{GQA}3.tif", Reason.UNKNOWN_RANGE),
    ]
    return [Case(record=chatted(path, "<image>\nWhat?", "x"), reason=reason) for path, reason in pairs]


def _odd_images() -> list[Case]:
    gif = (Repair.SUFFIX_CORRECTED, Repair.FIRST_FRAME_TAKEN, Repair.PALETTE_EXPANDED, Repair.FORMAT_CHANGED)
    pairs = [
        (f"{OCR}155611804.jpg", gif),  # the file is .gif: found by try_extensions
        (f"{OCR}031237.jpg", (Repair.SUFFIX_CORRECTED,)),
        (f"{OCR}cmyk.jpg", (Repair.CMYK_CONVERTED,)),
        (f"{OCR}palette.png", (Repair.PALETTE_EXPANDED,)),
        (f"{OCR}deep.png", (Repair.DEPTH_SCALED,)),
        (f"{OCR}bits.png", (Repair.MODE_CONVERTED,)),
        (f"{OCR}alpha.png", (Repair.ALPHA_ON_WHITE,)),
        (f"{OCR}cover.bmp", (Repair.FORMAT_CHANGED,)),
    ]
    return [Case(record=chatted(path, "<image>\nWho?", "Jane Doe"), repairs=repairs) for path, repairs in pairs]


def _noted() -> list[Case]:
    turned = f"{COCO}000000000061.jpg"
    return [
        Case(record=chatted(turned, "<image>\nWhere is it?", "[0.1,0.2]"), notes=(Note.EXIF_ORIENTATION_KEPT,)),
        Case(record=chatted(None, "What ends a text?", "It is </s>."), notes=(Note.END_OF_TEXT_INSIDE,)),
        Case(record=chatted(None, "x USER: y ASSISTANT: z", "Hm."), notes=(Note.TEMPLATE_WORDS_INSIDE,)),
        Case(record=chatted(None, "bell \u0007", "ding"), notes=(Note.CONTROL_CHARACTERS,)),
        Case(record=chatted(None, "caf\ufffd?", "café"), notes=(Note.REPLACEMENT_CHARACTER,)),
    ]


def _captions() -> list[Case]:
    """LLaVA-Pretrain's shape: the tag first or last, paths under the image folder itself."""
    return [
        Case(record=chatted("00453/004539375.jpg", "Say briefly what is shown.\n<image>", "a red bench")),
        Case(record=chatted("00000/000000001.jpg", "<image>\nGive a brief caption.", "olive oil")),
        Case(record=chatted("00000/000000002.jpg", "<image>\nCaption?", "gone"), reason=Reason.MISSING_IMAGE),
    ]


def _share() -> list[Case]:
    """ShareGPT4V's paths: sam/, web-celebrity/ with dots in names, and LLaVA's pretraining pictures."""
    paths = [path for path in _files() if path.startswith((SAM, STAR, LCS, "web-landmark", "wikiart"))]
    good = [path for path in paths if not re.search(r"sa_1\.jpg", path)]
    cases = [Case(record=chatted(path, "What do you see?\n<image>", f"It is {Path(path).stem}.")) for path in good]
    lost = Case(record=chatted(f"{STAR}Choi_Min-sik.jpg", "<image>\nWho?", "x"), reason=Reason.MISSING_IMAGE)
    return [*cases, lost]
