import pytest

from tinyllava_core.data.files.places import ImagePlace, ImagePlaces


@pytest.fixture
def disk(tmp_path):
    """Two folders with the same file name in both, one without, and a secret beside them."""
    for path in ("coco/7.jpg", "gqa/7.jpg", "ocr/1.gif", "ocr/2.jpg", "ocr/2.gif", "secret.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_the_prefix_says_which_folder_a_path_is_looked_up_in(disk):
    coco, gqa = (ImagePlace(prefix=p, folder=disk / f) for p, f in (("coco/train2017", "coco"), ("gqa/images", "gqa")))
    places = ImagePlaces(places=(coco, gqa))
    assert places.find("coco/train2017/7.jpg") == disk / "coco" / "7.jpg"
    assert places.find("gqa/images/7.jpg") == disk / "gqa" / "7.jpg"
    assert places.find("coco/train2017/8.jpg") is None
    assert places.find("vg/VG_100K/7.jpg") is None
    assert places.known("coco/train2017/8.jpg")
    assert not places.known("vg/VG_100K/7.jpg")


def test_a_prefix_is_whole_folders(disk):
    places = ImagePlaces(places=(ImagePlace(prefix="vg/VG_100K", folder=disk / "coco"),))
    assert places.find("vg/VG_100K/7.jpg") == disk / "coco" / "7.jpg"
    assert places.find("vg/VG_100K_2/7.jpg") is None
    assert not places.known("vg/VG_100K_2/7.jpg")


def test_several_places_of_one_prefix_are_asked_in_their_order(disk):
    first, second = (ImagePlace(prefix="x", folder=disk / name) for name in ("ocr", "coco"))
    assert ImagePlaces(places=(first, second)).find("x/7.jpg") == disk / "coco" / "7.jpg"
    assert ImagePlaces(places=(second, first)).find("x/2.jpg") == disk / "ocr" / "2.jpg"


def test_without_a_prefix_the_whole_path_is_looked_up(disk):
    assert ImagePlaces.one(disk).find("coco/7.jpg") == disk / "coco" / "7.jpg"


def test_other_endings_are_tried_only_where_the_file_as_named_is_missing(disk):
    place = ImagePlace(prefix="ocr_vqa/images", folder=disk / "ocr", try_extensions=(".png", ".gif"))
    places = ImagePlaces(places=(place,))
    assert places.find("ocr_vqa/images/1.jpg") == disk / "ocr" / "1.gif"
    assert places.find("ocr_vqa/images/2.jpg") == disk / "ocr" / "2.jpg"
    assert places.find("ocr_vqa/images/3.jpg") is None
    assert ImagePlaces.one(disk / "ocr").find("1.jpg") is None


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "x/../../secret.jpg", "x/../secret.jpg", "/etc/passwd", "", "x", "x\\..\\secret.jpg", "a\0"],
)
def test_no_path_leads_out_and_a_folder_is_no_file(disk, path):
    places = ImagePlaces(places=(ImagePlace(prefix="x", folder=disk / "coco"), ImagePlace(folder=disk / "coco")))
    assert places.find(path) is None


def test_places_survive_being_written_as_yaml(disk):
    places = ImagePlaces(places=(ImagePlace(prefix="ocr", folder=disk / "ocr", try_extensions=(".gif",)),))
    places.write(disk / "places.yaml")
    assert ImagePlaces.read(disk / "places.yaml") == places
    assert places.told() == f"ocr -> {disk / 'ocr'}"
