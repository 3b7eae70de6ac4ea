"""The shipped manifests of published data against what its publishers and readers state, worked out here once more."""

import re

import pytest

from tinyllava_core.data.manifest.local_copies import with_copies
from tinyllava_core.data.manifest.manifest import MANIFESTS, known, load
from tinyllava_core.recipe import known_recipes
from tinyllava_core.recipe import load as load_recipe
from tinyllava_core.settings.data import Data

PUBLISHED = [name for name in known() if not name.startswith("toy-")]


def parts(name):
    return {part.name: part.count for part in load(name).components}


def test_llavas_mix_is_ten_data_sets_in_six_folders():
    """By data set (LLaVA issue 702) and by folder (issue 657): the five of COCO share one."""
    coco = {"LLaVA-Instruct": 157_712, "VQAv2": 82_783, "OKVQA": 8_998, "A-OKVQA": 66_160, "RefCOCO": 48_447}
    folders = {"gqa": 72_140, "ocr-vqa": 80_000, "textcaps": 21_953, "vg": 86_417, "sharegpt": 40_688}
    assert parts("llava-sft-665k") == folders | {"coco": sum(coco.values())}
    assert load("llava-sft-665k").annotations.count == 665_298 == sum(coco.values()) + sum(folders.values())
    assert 665_298 - folders["sharegpt"] == 624_610  # records with a picture, as TinyLLaVA counted them


def test_sharegpt4vs_captions_are_lcs_coco_and_51_archives_of_sam():
    assert parts("sharegpt4v-pretrain-1246k") == {"lcs": 558_128, "coco": 118_287, "sam": 51 * 11_186}
    assert load("sharegpt4v-pretrain-1246k").annotations.count == 1_246_901
    assert load("lcs-558k").files == load("llava-pretrain-558k").annotations.count == 558_128
    assert load("coco-train2017").files == 118_287
    without = load("sharegpt4v-pretrain-676k-nosam")
    assert [part.name for part in without.components if not part.take] == ["sam"]
    assert "sam-0-50" not in without.sets


@pytest.mark.parametrize(
    ("name", "size", "begins"),
    [
        ("coco-train2017", 19_336_861_798, "69a8bb58"),
        ("coco-val2014", 6_645_013_297, "fe9be816"),
        ("coco-test2015", 13_270_587_935, "1a2aa896"),
        ("coco-val2017", 815_585_330, "4f7e2ccb"),
    ],
)
def test_cocos_archives_are_those_that_tensorflow_datasets_lists(name, size, begins):
    archive = load(name).images[0].archive
    assert (archive.bytes, archive.sha256[:8]) == (size, begins)


@pytest.mark.parametrize(
    ("source", "path", "found"),
    [
        ("llava-pretrain-558k", "00453/004539375.jpg", "lcs-558k/00453/004539375.jpg"),
        ("llava-sft-665k", "coco/train2017/000000033471.jpg", "coco-train2017/000000033471.jpg"),
        ("llava-sft-665k", "gqa/images/2354786.jpg", "gqa-images/2354786.jpg"),
        ("llava-sft-665k", "textvqa/train_images/a.jpg", "textvqa-train-val/a.jpg"),
        ("llava-sft-665k", "vg/VG_100K/1.jpg", "vg-100k/1.jpg"),
        ("llava-sft-665k", "vg/VG_100K_2/1.jpg", "vg-100k-2/1.jpg"),
        ("llava-sft-665k", "ocr_vqa/images/140031996.jpg", "ocr-vqa/140031996.gif"),
        (
            "sharegpt4v-pretrain-1246k",
            "llava/llava_pretrain/images/00453/004539375.jpg",
            "lcs-558k/00453/004539375.jpg",
        ),
        ("sharegpt4v-pretrain-1246k", "sam/images/sa_1.jpg", "sam-0-50/sa_1.jpg"),
        ("sharegpt4v-cap100k", "sam/images/sa_1.jpg", "sam-0-50/sa_1.jpg"),
        ("sharegpt4v-sft-665k", "sam/images/sa_1.jpg", "sam-9k/sa_1.jpg"),
        ("sharegpt4v-sft-665k", "share_textvqa/images/a.jpg", "share-textvqa/a.jpg"),
    ],
)
def test_a_records_path_leads_into_its_image_set(tmp_path, source, path, found):
    (tmp_path / found).parent.mkdir(parents=True)
    (tmp_path / found).touch()
    manifest = load(source)
    places = manifest.places(tmp_path / "own", {name: tmp_path / name for name in manifest.sets}, tmp_path)
    assert places.find(path) == tmp_path / found


def test_llavas_data_tree_is_used_as_it_is(tmp_path):
    """With the recipe's data.root, and nothing else said, everything that LLaVA's tree has comes from there."""
    tree = ["coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K", "vg/VG_100K_2"]
    for folder in (*tree, "text_files"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "text_files" / "llava_v1_5_mix665k.json").write_text("[]")
    data, source = Data(root=str(tmp_path)), load("llava-sft-665k")
    assert with_copies(source, data).annotations.path == str(tmp_path / "text_files" / "llava_v1_5_mix665k.json")
    assert [with_copies(load(name), data).folders for name in source.sets] == [[tmp_path / folder] for folder in tree]


def test_web_data_is_found_as_its_zip_has_it_and_moved_up(tmp_path):
    assert load("share-textvqa").root == "data/share_textvqa/images"
    assert load("wikiart").root == "data/wikiart/images"


@pytest.mark.parametrize("recipe", known_recipes())
def test_every_name_in_a_recipe_is_a_manifest_of_its_kind(recipe):
    found = load_recipe(recipe)
    for stage in found.stages():
        assert {load(entry.source).kind for entry in found.training(stage).mix} == {"source"}
    assert {load(name).kind for name in found.evaluate.benchmarks} <= {"benchmark"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_manifest_says_where_its_facts_are_from(name):
    text = (MANIFESTS / f"{name}.yaml").read_text()
    manifest = load(name)
    assert "Source" in text or manifest.manual
    assert manifest.homepage
    assert manifest.description


def test_what_a_person_must_fetch_is_said_in_words_and_has_no_url():
    manual = [manifest for manifest in map(load, known()) if manifest.manual]
    assert len(manual) >= 8
    for manifest in manual:
        assert re.search(r"\b(folder|unpack|put)\b", manifest.manual), manifest.name
        assert manifest.urls() == []


def test_the_page_about_the_data_has_every_manifest_and_its_numbers():
    page = (MANIFESTS.parent / "docs" / "data.md").read_text()
    for manifest in map(load, PUBLISHED):
        named = re.search(rf"`{manifest.name}`", page) or manifest.standalone or manifest.name == "sharegpt4v-cap100k"
        assert named, manifest.name
        if manifest.kind == "benchmark" and manifest.annotations.count is not None:
            assert f"{manifest.annotations.count:,}" in page, manifest.name
    for part in load("llava-sft-665k").components:
        assert f"| `{part.name}` | {part.count:,} |" in page
