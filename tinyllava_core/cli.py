# PYTHON_ARGCOMPLETE_OK
"""The command `tinyllava`: one file in commands/ for each of its words, one row here.

It starts fast and imports neither Prefect nor torch: what needs them is another program, which takes this one's place.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

import tinyllava_core
from tinyllava_core.commands import (
    ask,
    chat,
    check,
    compare,
    data,
    doctor,
    evaluate,
    gc,
    import_checkpoint,
    init,
    query,
    recipes,
    run,
    score,
    slurm,
    study,
    tune,
)
from tinyllava_core.commands.arguments import told
from tinyllava_core.commands.of_data import show
from tinyllava_core.commands.of_runs import answers, down, mmproj, push, runs, up, watch
from tinyllava_core.commands.of_why import attribute, mix_search, suspects, why
from tinyllava_core.errors import BadInput, Parser, is_no_text, visible
from tinyllava_core.room import is_full

# word -> HELP, add_arguments(parser), act(args); DESCRIPTION where HELP is short, MORE: which list takes words behind options
COMMANDS: dict[str, ModuleType] = {
    "doctor": doctor,
    "recipes": recipes,
    "init": init,
    "data": data,
    "check": check,
    "run": run,
    "watch": watch,
    "runs": runs,
    "up": up,
    "down": down,
    "evaluate": evaluate,
    "tune": tune,
    "ask": ask,
    "chat": chat,
    "study": study,
    "slurm": slurm,
    "import": import_checkpoint,
    "query": query,
    "show": show,
    "answers": answers,
    "score": score,
    "compare": compare,
    "push": push,
    "mmproj": mmproj,
    "attribute": attribute,
    "why": why,
    "suspects": suspects,
    "mix-search": mix_search,
    "gc": gc,
}
# what other programs call it -> what is done here
ELSEWHERE = {
    "train": "run RECIPE",
    "fit": "run RECIPE",
    "resume": "run RECIPE",
    "finetune": "tune CHECKPOINT SOURCE",
    "predict": "ask CHECKPOINT PICTURE QUESTION",
    "infer": "ask CHECKPOINT PICTURE QUESTION",
    "serve": "chat CHECKPOINT",
    "sweep": "study STUDY",
}
_OF_A_PLACE = {
    getattr(errno, name)
    for name in ("ENOENT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "ENAMETOOLONG")
}
FIRST = """\
to begin with:
  tinyllava run toy                       a whole run on a laptop, minutes, no network
  tinyllava ask latest a.jpg "What?"      ask what it trained
  tinyllava init PICTURES RECORDS.json    your own pictures: writes NAME.yaml, NAME-recipe.yaml
  tinyllava run NAME-recipe.yaml          train on them from the start, or
  tinyllava tune latest NAME.yaml         go on from what is trained already
  tinyllava evaluate latest BENCHMARK     score it
  tinyllava gc                            what all that weighs
`tinyllava COMMAND --help` says what a command takes.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 2, with one line on stderr, if the input is at fault."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow: eval "$(register-python-argcomplete tinyllava)"
        import argcomplete

        argcomplete.autocomplete(parser)
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        _check_word(words[0])
        args = _read(parser, words)
        COMMANDS[args.command].act(args)
        sys.stdout.flush()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if (told_of := _not_ours(words, error)) is None:
            raise
        print(f"error: {words[0]}: {told_of}", file=sys.stderr)
        return 2
    return 0


def _not_ours(words: Sequence[str], error: Exception) -> str | None:
    """Say what the machine or the words typed have against a command; None for a fault of ours."""
    if is_full(error):
        return f"the disk is full ({error}); make room and give the same command again"
    if isinstance(error, OSError) and error.errno in _OF_A_PLACE and error.filename is not None:
        act = (
            "make it, or name another place"
            if error.errno == errno.ENOENT
            else "name another place, or get the right to this one"
        )
        return visible(f"{error.filename}: {error.strerror}; {act}")
    if odd := next((word for word in words if is_no_text(word)), None):
        return f"{odd!r}: bytes that are no text in UTF-8; write it in others"
    return None


def _check_word(word: str) -> None:
    """Raise BadInput where a word is no command, but near to what another program calls one."""
    near = difflib.get_close_matches(word, [*COMMANDS, *ELSEWHERE], n=1)
    if not word.startswith("-") and near and near[0] in ELSEWHERE:
        raise BadInput(f"tinyllava: unknown COMMAND {word!r}; to {near[0]}: tinyllava {ELSEWHERE[near[0]]}")


def _read(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    args, rest = parser.parse_known_args(words)
    more = getattr(COMMANDS[args.command], "MORE", None)
    if rest and (more is None or any(word.startswith("-") for word in rest)):
        raise BadInput(
            f"tinyllava {args.command}: {' '.join(rest)!r}: not understood; `tinyllava {args.command} --help`"
        )
    if rest and more is not None:
        setattr(args, more, getattr(args, more) + rest)  # argparse gives up on `NAME --format csv key=value`
    return args


class Version(argparse.Action):
    """Prints the version and ends; argparse's own action would look it up at every start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it."""
        print(tinyllava_core.__version__)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="tinyllava",
        description="Train small vision-language models, and ask what went into them.",
        epilog=FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for word, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(word, **told(command)))
    return parser


if __name__ == "__main__":
    sys.exit(main())
