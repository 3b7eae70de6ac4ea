"""The names of every fault that keeps a record out of training, and of every repair. Nothing is judged here."""

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
    """A turn is from neither the user nor the assistant."""

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

    IMAGE_OUTSIDE_ROOT = "image_outside_root"
    """The image's path is absolute or climbs out of the image root."""

    MISSING_IMAGE = "missing_image"
    """There is no such file."""

    UNREADABLE_IMAGE = "unreadable_image"
    """The file is no picture, has no bytes, ends too early or does not decode."""


class Repair(StrEnum):
    """What was changed in a record that could be kept."""

    TAG_ADDED = "tag_added"
    """Images, but no tag in any turn: the tags were put in front of the first user's turn."""

    EXTRA_TAGS_REMOVED = "extra_tags_removed"
    """One image, several tags: the first was kept. Source: LLaVA's loader keeps one a turn, which is one picture many times."""

    LEADING_ANSWER_REMOVED = "leading_answer_removed"
    """The assistant began: that turn was removed. Source: LLaVA train.py and TinyLLaVA's templates skip it too."""

    TRAILING_QUESTION_REMOVED = "trailing_question_removed"
    """The user had the last word, without an answer to learn: that turn was removed."""
