import pytest
import yaml

from tinyllava_core.data.manifest.local_copies import as_own, check_names, with_copies
from tinyllava_core.data.manifest.manifest import load
from tinyllava_core.errors import BadInput
from tinyllava_core.settings.data import Data

COCO = {"kind": "images", "images": [{"archive": {"url": "http://a/coco.zip"}}], "tree": "coco/train2017"}
CHAT = {"annotations": {"url": "http://a/chat.json", "format": "llava", "count": 3}, "images": [{"set": "coco"}]}
MME = {"kind": "benchmark", "scorer": "pope", "annotations": {"file": "q.json"}, "manual": "Ask the authors."}


@pytest.fixture
def written(tmp_path):
    def write(fields):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", **fields}))
        return load(str(tmp_path / "mine.yaml"))

    return write


def test_without_copies_a_manifest_stays_as_it_is(written):
    manifest = written(COCO)
    assert with_copies(manifest, Data()) is manifest


def test_an_image_set_is_taken_from_its_folder(written, tmp_path):
    found = with_copies(written(COCO), Data(local={"mine": str(tmp_path)}))
    assert (found.folders, found.urls()) == ([tmp_path], [str(tmp_path)])


def test_a_sources_records_are_taken_from_its_file_and_its_pictures_as_before(written, tmp_path):
    (tmp_path / "chat.json").write_text("[]")
    found = with_copies(written(CHAT), Data(local={"mine": str(tmp_path / "chat.json")}))
    assert found.urls() == [str(tmp_path / "chat.json")]
    assert (found.sets, found.annotations.count, found.annotations.format) == (["coco"], 3, "llava")


def test_a_hubs_data_set_is_taken_from_a_folder_of_its_layout_also_for_a_part_of_it(written, tmp_path):
    (tmp_path / "fine").mkdir()
    whole = written({"annotations": {"hub": {"repo": "owner/fine"}, "format": "texts"}, "images": [{"embedded": True}]})
    for local in ({"mine": str(tmp_path / "fine")}, {"mine-chartqa": str(tmp_path / "fine"), "mine": "/nowhere"}):
        found = with_copies(whole.part("chartqa"), Data(local=local))
        hub = found.annotations.hub
        assert (hub.is_local, hub.repo, hub.subsets) == (True, str(tmp_path / "fine"), ("chartqa",))


def test_a_data_tree_gives_what_is_in_it_and_what_is_not_is_downloaded(written, tmp_path):
    data = Data(root=str(tmp_path))
    assert with_copies(written(COCO), data).urls() == ["http://a/coco.zip"]
    (tmp_path / "coco" / "train2017").mkdir(parents=True)
    assert with_copies(written(COCO), data).folders == [tmp_path / "coco" / "train2017"]
    (tmp_path / "other").mkdir()
    named = Data(root=str(tmp_path), local={"mine": str(tmp_path / "other")})
    assert with_copies(written(COCO), named).folders == [tmp_path / "other"], "what is named goes first"


def test_what_a_person_must_fetch_says_what_and_where_to_say_so(written, tmp_path):
    with pytest.raises(BadInput) as error:
        with_copies(written(MME), Data())
    assert str(error.value) == (
        "'mine' cannot be downloaded by a program: Ask the authors. Then say where it is: --set 'data.local={mine: PLACE}'"
    )
    (tmp_path / "q.json").write_text("{}")
    found = with_copies(written(MME), Data(local={"mine": str(tmp_path)}))
    assert (found.manual, found.annotations.path, found.annotations.file) == (None, str(tmp_path), "q.json")


def test_a_copy_that_is_not_there_is_named(written, tmp_path):
    with pytest.raises(BadInput, match=r"data\.local: mine: no folder .*nowhere"):
        with_copies(written(COCO), Data(local={"mine": str(tmp_path / "nowhere")}))
    with pytest.raises(BadInput, match=r"data\.local: mine: no file or folder .*nowhere"):
        with_copies(written(CHAT), Data(local={"mine": str(tmp_path / "nowhere")}))
    with pytest.raises(BadInput, match=r"data\.local: mine: no folder .*mine\.yaml"):
        with_copies(written(COCO), Data(local={"mine": str(tmp_path / "mine.yaml")}))


def test_a_name_that_no_manifest_has_is_refused_with_the_nearest(written):
    check_names(Data(local={"toy-chat": "x", "mine": "y"}), [written(CHAT)])
    with pytest.raises(BadInput, match=r"unknown manifest in data\.local 'toy-caht'; nearest: 'toy-chat'"):
        check_names(Data(local={"toy-caht": "x"}), [])


def test_a_data_root_that_is_no_folder_is_refused():
    with pytest.raises(BadInput, match=r"data\.root: no folder nowhere"):
        check_names(Data(root="nowhere"), [])


def test_a_data_root_with_nothing_that_is_read_is_refused_and_the_one_inside_it_named(tmp_path):
    used = [load("llava-sft-665k"), load("coco-train2017")]
    with pytest.raises(BadInput, match=r"has nothing that this recipe reads, text_files/.* or another$"):
        check_names(Data(root=str(tmp_path)), used)
    (tmp_path / "playground/data/coco/train2017").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"did you mean .*/playground/data"):
        check_names(Data(root=str(tmp_path)), used)
    check_names(Data(root=str(tmp_path / "playground/data")), used)
    check_names(Data(root=str(tmp_path)), [load("toy-chat")])  # whose manifest names no place in it


LLAVA = {  # Source: LLaVA, README, docs/Evaluation.md and scripts/v1_5
    "llava-pretrain-558k": "LLaVA-Pretrain/blip_laion_cc_sbu_558k.json",
    "lcs-558k": "LLaVA-Pretrain/images/",
    "llava-sft-665k": "llava_v1_5_mix665k.json",
    "coco-train2017": "coco/train2017/",
    "gqa-images": "gqa/images/",
    "ocr-vqa": "ocr_vqa/images/",
    "textvqa-train-val": "textvqa/train_images/",
    "vg-100k": "vg/VG_100K/",
    "vg-100k-2": "vg/VG_100K_2/",
    "pope": "eval/pope/coco/",
    "coco-val2014": "eval/pope/val2014/",
    "mme": "eval/MME/MME_Benchmark_release_version/",
    "mm-vet": "eval/mm-vet/",
    "textvqa-val": "eval/textvqa/TextVQA_0.5.1_val.json",
    "mmbench-en-dev": "eval/mmbench/mmbench_dev_20230712.tsv",
    "llava-bench-in-the-wild": "eval/llava-bench-in-the-wild/",
}
FACTORY = {  # Source: TinyLLaVA Factory, datasets/README.md
    "llava-pretrain-558k": "text_files/blip_laion_cc_sbu_558k.json",
    "lcs-558k": "llava/llava_pretrain/images/",
    "llava-sft-665k": "text_files/llava_v1_5_mix665k.json",
    "coco-train2017": "coco/train2017/",
}


@pytest.mark.parametrize("tree", [LLAVA, FACTORY], ids=["LLaVA's", "the Factory's"])
def test_a_tree_as_the_documentation_lays_it_out_is_used_in_place(tmp_path, tree):
    for place in tree.values():
        target = tmp_path / place
        (target if place.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not place.endswith("/"):
            target.write_text("[]")
    for name, place in tree.items():
        found = with_copies(load(name), Data(root=str(tmp_path)))
        used = found.folders[0] if found.kind == "images" else found.local(found.annotations.path)
        assert used == (tmp_path / place), name
        assert found.manual is None


def test_a_part_of_a_published_file_is_a_source_of_its_own_by_the_line_that_is_told(tmp_path):
    (tmp_path / "half.json").write_text("[]")
    line = as_own(load("llava-sft-665k"), tmp_path / "half.json")
    assert "\n" not in line
    (tmp_path / "my.yaml").write_text(line)
    mine = load(str(tmp_path / "my.yaml"))
    assert mine.sets == load("llava-sft-665k").sets
    assert mine.local(mine.annotations.path) == tmp_path / "half.json"
    assert mine.annotations.count is None
