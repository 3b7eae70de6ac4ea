"""Every shape that people write records in comes to the same record; what looks like what; nothing a file may hold breaks a parser."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllava_core.data.record.conversation import Checked, Dropped, check
from tinyllava_core.data.record.formats import FORMATS, parser, sniff, sniff_file
from tinyllava_core.data.record.reason import Reason
from tinyllava_core.data.record.record import Malformed, Score, Turn
from tinyllava_core.errors import BadInput

CHAT = (
    Turn(role="user", text="<image>\nWhat is it?"),
    Turn(role="assistant", text="A cat."),
    Turn(role="user", text="Sure?"),
    Turn(role="assistant", text="Yes."),
)
TWO = [{"type": "image"}, {"type": "text", "text": "\nWhat is it?"}]
# the same conversation, as each shape writes it
SHAPES = {
    "llava": {
        "image": "a.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": "Yes."},
        ],
    },
    "texts": {
        "images": ["a.jpg"],
        "texts": [
            {"user": "What is it?", "assistant": "A cat.", "source": "x"},
            {"user": "Sure?", "assistant": "Yes."},
        ],
    },
    "messages, texts": {
        "images": ["a.jpg"],
        "messages": [
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."},
        ],
    },
    "messages, slots in texts": {
        "image": "a.jpg",
        "messages": [
            {"role": "user", "content": "<image>\nWhat is it?"},
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."},
        ],
    },
    "messages, parts": {
        "images": [{"path": "a.jpg", "bytes": None}],
        "messages": [
            {"role": "user", "content": TWO},
            {"role": "assistant", "content": [{"type": "text", "text": "A cat.", "image": None}]},
            {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
            {"role": "assistant", "content": "Yes."},
        ],
    },
    "messages, OpenAI": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "a.jpg", "detail": "low"}},
                    {"type": "input_text", "text": "\nWhat is it?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."},
        ]
    },
    "messages, a list alone": [
        {"role": "user", "content": [{"type": "image", "path": "a.jpg"}, {"type": "text", "text": "\nWhat is it?"}]},
        {"role": "assistant", "content": "A cat."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ],
    "sharegpt": {
        "images": ["a.jpg"],
        "system": "",
        "conversations": [
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."},
        ],
    },
    "sharegpt, pairs": {
        "images": ["a.jpg"],
        "conversation": [{"human": "What is it?", "assistant": "A cat."}, {"human": "Sure?", "assistant": "Yes."}],
    },
    "sharegpt, query": {
        "images": ["a.jpg"],
        "history": [["What is it?", "A cat."]],
        "query": "Sure?",
        "response": "Yes.",
    },
    "prompts": {
        "images": ["a.jpg"],
        "prompts": [["What is it?", "Sure?"]],
        "captions": [["A cat.", "Yes."]],
    },
    "questions": {"image": "a.jpg", "question": ["What is it?", "Sure?"], "answers": ["A cat.", "Yes."]},
    "questions, PixMo": {
        "image": "a.jpg",
        "questions": {"question": ["What is it?", "Sure?"], "answer": ["A cat.", "Yes."]},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_conversation_in_every_shape_is_the_same_record_and_its_shape_is_told(shape):
    item, name = SHAPES[shape], shape.partition(",")[0]
    assert sniff([item], "x.json") == name
    record = parser(name)("s", 3, item)
    assert (record.images, record.turns) == (("a.jpg",), CHAT)
    assert check(record) == Checked(record=record)


@pytest.mark.parametrize(
    ("item", "turns"),
    [
        ({"image": "a.jpg", "caption": "A cat."}, ("<image>\n", "A cat.")),
        ({"image_sha256": "a.jpg", "text": "A cat."}, ("<image>\n", "A cat.")),
        ({"image": "a.jpg", "label": "cats", "points": [{"x": 10.04, "y": 5}]},
         ("<image>\nPoint to cats.", '<point x="10.0" y="5.0" alt="cats">cats</point>')),
        ({"image": "a.jpg", "label": "cats", "points": {"x": [1, 2], "y": [3, 4]}, "collection_method": "pointing"},
         ("<image>\nPoint to cats.", '<points x1="1.0" y1="3.0" x2="2.0" y2="4.0" alt="cats">cats</points>')),
        ({"image": "a.jpg", "label": "cats", "points": [], "count": 0}, ("<image>\nPoint to cats.", "There are none.")),
        ({"image": "a.jpg", "label": "cats", "points": [{"x": 1, "y": 2}], "count": 1, "collection_method": "counting"},
         ("<image>\nHow many cats are there?", "1")),
        (["what is it?", "a cat", "a.jpg"], ("<image>\nwhat is it?", "a cat")),
    ],
)  # fmt: skip
def test_captions_points_and_counts_become_a_question_and_an_answer(item, turns):
    record = parser(sniff([item], "x"))("s", 0, item)
    assert (record.images, tuple(turn.text for turn in record.turns)) == (("a.jpg",), turns)


def test_ratings_are_scores_of_the_record_and_of_each_answer_and_an_unrated_row_keeps_nulls():
    texts = [{"user": "q", "assistant": "a"}, {"user": "r", "assistant": "b"}]
    rated = {"images": [], "texts": texts, "relevance_ratings": [5, 2], "formatting_ratings": None, "relevance_min": 2}
    assert parser("texts")("s", 0, rated).scores == (
        Score(name="relevance", of_record=2, of_answers=(5, 2)),
        Score(name="formatting", of_record=None, of_answers=(None, None)),
    )
    assert parser("texts")("s", 0, {"texts": texts, "relevance_ratings": [None, 4]}).scores[0].of_record == 4
    with pytest.raises(Malformed, match="relevance_ratings: 1 ratings for 2 turns"):
        parser("texts")("s", 0, {"texts": texts, "relevance_ratings": [3]})


def test_a_system_turn_has_its_own_role_and_an_answer_may_be_shown_without_being_learned():
    item = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "loss": False},
            {"role": "user", "content": "r"},
            {"role": "assistant", "content": "b", "loss": True},
        ]
    }
    turns = parser("messages")("s", 0, item).turns
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [turn.supervised for turn in turns] == [True, True, False, True, True]
    item["messages"][2]["loss"] = 0.5
    with pytest.raises(Malformed, match=r"messages\[2\]\.loss: 0\.5; expected 1"):
        parser("messages")("s", 0, item)


@pytest.mark.parametrize(
    ("form", "item", "reason"),
    [
        # nanoVLM leaves such a row out without a word, and voids such a turn
        ("texts", {"images": [], "texts": []}, Reason.NO_TURNS),
        ("texts", {"images": None, "texts": None}, Reason.NO_TURNS),
        ("texts", {"texts": [{"user": "q", "assistant": None}]}, Reason.EMPTY_ANSWER),
        # nanoVLM removes such a tag with a warning
        ("texts", {"images": ["a", "b"], "texts": [{"user": "<image> q", "assistant": "a"}]}, Reason.IMAGE_TAG_MISMATCH),
        # LLaMA-Factory skips the whole example where roles do not alternate, with a warning
        ("sharegpt", {"conversations": [{"role": "user", "content": "a"}] * 2}, Reason.ROLES_DO_NOT_ALTERNATE),
        # and TRL raises where slots and pictures differ
        ("messages", {"images": [], "messages": [{"role": "user", "content": TWO}, {"role": "assistant", "content": "a"}]},
         Reason.IMAGE_TAG_MISMATCH),
        ("messages", {"images": ["a", "b"], "messages": [{"role": "user", "content": TWO}, {"role": "assistant", "content": "a"}]},
         Reason.IMAGE_TAG_MISMATCH),
        ("messages", {"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "1"}]}, Reason.TOOL_TURN),
        ("messages", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
         Reason.TOOL_TURN),
        ("sharegpt", {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "f()"}]},
         Reason.TOOL_TURN),
        ("messages", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None}]}, Reason.EMPTY_ANSWER),
    ],
)  # fmt: skip
def test_what_other_loaders_drop_in_silence_is_dropped_here_under_a_reason(form, item, reason):
    found = check(parser(form)("s", 0, item))
    assert isinstance(found, Dropped)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("form", "item", "what"),
    [
        ("messages", {"messages": [{"role": "user", "content": [{"type": "video"}]}]}, r"content\[0\]: a part of type 'video'"),
        ("messages", {"messages": [{"role": "user", "content": [{"text": "a"}]}]}, r"content\[0\]\.type: expected a text"),
        ("messages", {"messages": [{"role": "user", "content": 3}]}, "expected a text or a list of parts, found int"),
        ("messages", {"images": ["data:image/png;base64,AA"], "messages": []}, r"say images: \[\{embedded: true\}\]"),
        ("messages", {"images": ["https://a/b.jpg"], "messages": []}, "a URL, https://a/b.jpg: nothing fetches it"),
        ("texts", {"texts": [], "videos": ["a.mp4"]}, "videos: only pictures and texts can be trained on"),
        ("sharegpt", {"conversation": [{"human": "q"}]}, r"conversation\[0\]: expected from and value, .* found \['human'\]"),
        ("sharegpt", {"query": "a", "response": "b", "history": [["a"]]}, r"history\[0\]: expected a question and its answer"),
        ("prompts", {"prompts": ["a", "b"], "captions": ["c"]}, "2 prompts for 1 captions"),
        ("questions", {"question": "a", "answers": ["b", "c"]}, "question: expected as many as there are answers"),
        ("points", {"label": "x", "points": [{"x": 1}]}, "points: expected places with x and y"),
        ("captions", {"image": "a.jpg", "caption": ["a", "b"]}, "caption: expected a text, found list"),
        ("triples", ["what?", "a cat"], "expected a list of a question, an answer and a picture's number"),
    ],
)  # fmt: skip
def test_what_is_of_another_shape_says_where(form, item, what):
    with pytest.raises(Malformed, match=what):
        parser(form)("s", 0, item)


KEYS = """conversations conversation messages images image texts from value role content type text user assistant human
image_url url path query response history prompts captions caption label points x y count question answer questions
relevance_ratings relevance_min system loss tool_calls id _from collection_method""".split()  # noqa: SIM905
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["user", "image", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=100, deadline=None)
@given(item=JSON)
def test_whatever_a_file_holds_a_parser_gives_a_record_or_says_what_is_wrong_and_check_judges_it(form, item):
    try:
        record = parser(form)("s", 0, item)
    except Malformed:
        return
    found = check(record)
    if isinstance(found, Checked):
        said = [turn for turn in found.record.turns if turn.role == "user"]
        assert sum(turn.text.count("<image>") for turn in said) == len(record.images)
    for score in record.scores:
        assert score.of_record is None or abs(score.of_record) < 1e15


def test_records_that_look_like_nothing_name_their_keys(tmp_path):
    file = tmp_path / "odd.json"
    file.write_text('[{"bild": "a.jpg", "wort": "b"}]')
    with pytest.raises(
        BadInput, match=r"odd\.json: its records look like none of llava, .*; their keys: bild, wort\. Name"
    ):
        sniff_file(file)
    with pytest.raises(BadInput, match="unknown annotation format 'mesages'; nearest: 'messages'"):
        parser("mesages")
