import pytest

from tinyllava_core.data.record.llava import parse_llava
from tinyllava_core.data.record.record import Malformed, Record, Turn


def test_a_llava_record_comes_out_as_it_was_written(llava):
    item = llava("a/b.jpg", "<image>\nWhat?", "A cat.", "Sure?", "", id=7)
    assert parse_llava("cats", 12, item) == Record(
        record_id="cats-00000012",
        source="cats",
        index=12,
        original_id="7",
        images=("a/b.jpg",),
        turns=(
            Turn(role="user", text="<image>\nWhat?"),
            Turn(role="assistant", text="A cat."),
            Turn(role="user", text="Sure?"),
            Turn(role="assistant", text=""),
        ),
    )


@pytest.mark.parametrize(
    ("image", "images"), [(None, ()), ("a.jpg", ("a.jpg",)), (["a.jpg", "b.jpg"], ("a.jpg", "b.jpg")), ([], ())]
)
def test_an_image_may_be_absent_one_or_several(llava, image, images):
    assert parse_llava("s", 0, llava(image, "q", "a")).images == images


def test_an_unknown_role_is_left_for_inspect_to_judge():
    item = {"id": "1", "conversations": [{"from": "system", "value": "be kind"}]}
    assert parse_llava("s", 0, item).turns == (Turn(role="system", text="be kind"),)


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ("a text", "expected an object, found str"),
        ({"id": "1"}, "conversations: expected a list, found nothing"),
        ({"conversations": {"from": "human"}}, "conversations: expected a list, found dict"),
        ({"conversations": ["hello"]}, r"conversations\[0\]: expected an object, found str"),
        ({"conversations": [{"value": "hello"}]}, r"conversations\[0\].from: expected a text, found nothing"),
        ({"conversations": [{"from": "human", "value": 3}]}, r"conversations\[0\].value: expected a text, found int"),
        ({"image": 3, "conversations": []}, "image: expected a path or a list of paths, found 3"),
        ({"image": ["a.jpg", None], "conversations": []}, "image: expected a path or a list of paths"),
    ],
)
def test_an_item_of_another_shape_is_malformed(item, what):
    with pytest.raises(Malformed, match=what):
        parse_llava("s", 0, item)
