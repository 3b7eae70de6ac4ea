"""The names of every fault that keeps a record out of training, of every repair, and of what is merely noted. Nothing is judged here.

docs/inspect.md has them in tables; a test holds the two against each other.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a record was dropped. A record with several faults is kept under the first, in this order."""

    MALFORMED = "malformed"
    """The item is not of the annotation format: no list of conversations, a text that is a number, ..."""

    INVALID_TEXT = "invalid_text"
    """A text holds half of a surrogate pair, which no file can be written with."""

    NO_TURNS = "no_turns"
    """The conversation is empty."""

    UNKNOWN_ROLE = "unknown_role"
    """A turn is from neither the user nor the assistant, nor a system's or a tool's."""

    SYSTEM_NOT_FIRST = "system_not_first"
    """A system's turn behind another turn: prompt formats have a place for one, in front."""

    TOOL_TURN = "tool_turn"
    """A turn calls a tool, or is a tool's answer: no prompt format here writes one, and without it the rest makes no sense."""

    FIRST_TURN_NOT_USER = "first_turn_not_user"
    """The assistant begins, and without that turn nothing is left to learn from, or the turn is more than one."""

    ROLES_DO_NOT_ALTERNATE = "roles_do_not_alternate"
    """Two turns in a row are from the same side."""

    NO_ANSWER = "no_answer"
    """The conversation ends with the user, and cannot do without that turn."""

    EMPTY_ANSWER = "empty_answer"
    """An assistant's turn has nothing but space."""

    IMAGE_TAG_IN_ANSWER = "image_tag_in_answer"
    """An assistant's turn holds a literal image tag: the model would be taught to say it."""

    IMAGE_TAG_MISMATCH = "image_tag_mismatch"
    """The user's image tags are not as many as the images, and it cannot be told which belongs to which."""

    TOO_MANY_TURNS = "too_many_turns"
    """More turns than the declared limit; there is none by default."""

    TOO_MANY_CHARACTERS = "too_many_characters"
    """More characters than the declared limit; there is none by default."""

    IMAGE_OUTSIDE_ROOT = "image_outside_root"
    """The image's path is absolute or climbs out of the image root."""

    MISSING_IMAGE = "missing_image"
    """There is no such file."""

    UNREADABLE_IMAGE = "unreadable_image"
    """The file is there, but the system does not let it be read: permissions, a broken disk."""

    EMPTY_IMAGE = "empty_image"
    """The file has no bytes."""

    NOT_AN_IMAGE = "not_an_image"
    """The bytes are no picture of a known kind: a web page that says 404, say."""

    IMAGE_TOO_LARGE = "image_too_large"
    """More pixels than the declared limit: told by the header, refused before anything is decoded."""

    IMAGE_TOO_SMALL = "image_too_small"
    """A side is shorter than the declared limit."""

    ABSURD_ASPECT = "absurd_aspect"
    """The longer side is more times the shorter one than the declared limit."""

    TRUNCATED_IMAGE = "truncated_image"
    """The file ends before its last pixel."""

    BROKEN_IMAGE = "broken_image"
    """It begins like a picture, and does not decode."""

    UNKNOWN_RANGE = "unknown_range"
    """Pixels of 32 bits or of floating point: nothing says which value is white."""

    UNFORESEEN = "unforeseen"
    """A reader stumbled over it in a way that nobody foresaw: the item is named, with what the reader said."""


class Repair(StrEnum):
    """What was changed in a record, or in one of its images, that could be kept."""

    LEADING_ANSWER_REMOVED = "leading_answer_removed"
    """The assistant began: that turn was removed. Source: LLaVA train.py and TinyLLaVA's templates skip it too."""

    TRAILING_QUESTION_REMOVED = "trailing_question_removed"
    """The user had the last word, without an answer to learn: that turn was removed."""

    TAG_ADDED = "tag_added"
    """Images, but no tag in any turn: the tags were put in front of the first user's turn."""

    EXTRA_TAGS_REMOVED = "extra_tags_removed"
    """One image, several tags: the first was kept. Source: LLaVA's loader keeps one a turn, which is one picture many times."""

    SUFFIX_CORRECTED = "suffix_corrected"
    """The file's name promises another format than its bytes are: the shard's member is named by the bytes."""

    FIRST_FRAME_TAKEN = "first_frame_taken"
    """Of a moving picture, the first frame."""

    PALETTE_EXPANDED = "palette_expanded"
    """A palette became the colours it stands for."""

    ALPHA_ON_WHITE = "alpha_on_white"
    """What was transparent was laid on white. Source: img2dataset does so too; Pillow's convert would show what is hidden there."""

    DEPTH_SCALED = "depth_scaled"
    """Grey of 9 to 16 bits became 8-bit, the range that the file declares scaled; Pillow's convert("RGB") would make all but the darkest white."""

    CMYK_CONVERTED = "cmyk_converted"
    """Printing colours became RGB."""

    MODE_CONVERTED = "mode_converted"
    """Another way to write colours (black and white bits, Lab, ...) became RGB or grey."""

    FORMAT_CHANGED = "format_changed"
    """The bytes are neither JPEG, PNG nor WebP: written anew, so that every reader of the shards can decode them."""

    ORIENTATION_APPLIED = "orientation_applied"
    """The picture was turned as its EXIF says, because `inspect.exif_orientation: apply` asks for it."""


class Note(StrEnum):
    """What is remarkable and was left as it is."""

    EXIF_ORIENTATION_KEPT = "exif_orientation_kept"
    """EXIF asks for a turn of the picture, and it is shown as stored. Source: LLaVA's and TinyLLaVA's loaders do not turn it; boxes in the text refer to the stored pixels."""

    END_OF_TEXT_INSIDE = "end_of_text_inside"
    """A text holds the string of an end token, such as </s>. Text is tokenized without reading special tokens from it, so it stays words."""

    TEMPLATE_WORDS_INSIDE = "template_words_inside"
    """A text holds words that part turns in prompt formats, such as " ASSISTANT: ". Labels are known by segment, so no mask is misled."""

    CONTROL_CHARACTERS = "control_characters"
    """A text holds control characters other than tab and line ends."""

    REPLACEMENT_CHARACTER = "replacement_character"
    """A text holds U+FFFD: some earlier program could not read a character."""
