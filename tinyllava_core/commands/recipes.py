"""`tinyllava recipes`: list the recipes that come with the package."""

from __future__ import annotations

import argparse

from tinyllava_core.show import show

HELP = "list the recipes that come with the package"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes: nothing."""


def act(args: argparse.Namespace) -> None:
    """List them."""
    from tinyllava_core.recipe import known_recipes, load

    show(("recipe", "description"), [(name, load(name).description) for name in known_recipes()])
