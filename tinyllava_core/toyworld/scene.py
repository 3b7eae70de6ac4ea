"""A scene of the toy world: coloured shapes in a 3 x 3 grid, sometimes with a printed word or number, and its picture.

It knows no question and no caption: text.py does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from tinyllava_core.toyworld.font import GLYPHS

IMAGE_SIZE = 72  # pixels, square
CELL = 24  # pixels: the grid is 3 x 3
LETTER = 12  # pixels from one printed character to the next

KINDS = ("circle", "square", "triangle", "cross", "ring")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (45, 90, 225),
    "yellow": (240, 214, 40),
    "purple": (145, 60, 185),
    "orange": (245, 130, 25),
}
SIZES: dict[str, tuple[int, int]] = {"large": (10, 11), "small": (5, 6)}  # half a side, pixels, from to
ROWS = ("top", "centre", "bottom")
COLUMNS = ("left", "centre", "right")
Ink = int | tuple[int, int, int]  # a grey value, or red, green and blue
_WORD_LIST = (
    "ANT ARM BAG BED BEE BOX BUS CAP CAR CAT COW CUP DOG EAR EGG EYE FAN FIG FOX GEM GUM HAT HEN HUT ICE INK JAM JAR "
    "JET JOY KEY KIT LEG LID LIP LOG MAP MIX MUD MUG NET NUT OAK OIL OWL PAN PEN PIE PIG POT RAT RED RUG SAW SEA SKY "
    "SUN TAP TEA TIE TOY URN VAN VET WAX WEB WIG YAK YES ZIP ZOO"
)
WORDS = tuple(_WORD_LIST.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One coloured shape in one cell of the grid."""

    kind: str
    colour: str
    size: str
    row: int  # 0 top .. 2 bottom
    column: int  # 0 left .. 2 right
    x: int  # centre, pixels
    y: int
    radius: int  # half a side, pixels
    rgb: tuple[int, int, int]  # a shade of `colour`

    @property
    def name(self) -> str:
        """Give what tells this shape from the scene's others: no two share colour and kind."""
        return f"{self.colour} {self.kind}"

    @property
    def place(self) -> str:
        """Give the cell's name: "top left" .. "bottom right"; the middle one is "centre"."""
        return place_name(self.row, self.column)


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """A printed word or number; it has a row of the grid to itself."""

    text: str
    row: int
    x: int  # left edge of the first character, pixels
    y: int  # top edge
    ink: int  # grey value

    @property
    def is_number(self) -> bool:
        """Tell a number from a word."""
        return self.text.isdigit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that one picture shows. Shapes stand in reading order."""

    shapes: tuple[Shape, ...]
    printed: Print | None
    background: int  # grey value


def place_name(row: int, column: int) -> str:
    """Name one cell of the grid."""
    return "centre" if row == column == 1 else f"{ROWS[row]} {COLUMNS[column]}"


def make_scene(
    split: str, index: int, *, min_shapes: int = 1, max_shapes: int = 4, printed: bool | None = None
) -> Scene:
    """Draw the lots for scene `index` of `split`; other splits get other scenes. `printed`: None leaves it to chance."""
    rng = random.Random(f"{split}/{index}")
    dark = rng.random() < 0.5
    background = rng.randint(10, 50) if dark else rng.randint(205, 245)
    if printed is None:
        printed = rng.random() < 0.4
    row = rng.randrange(3) if printed else None
    cells = [(r, c) for r in range(3) for c in range(3) if r != row]
    taken = sorted(rng.sample(cells, rng.randint(min_shapes, max_shapes)))
    names = rng.sample([(kind, colour) for kind in KINDS for colour in COLOURS], len(taken))
    shapes = tuple(_make_shape(rng, kind, colour, r, c) for (kind, colour), (r, c) in zip(names, taken, strict=True))
    return Scene(shapes=shapes, printed=None if row is None else _make_print(rng, row, dark), background=background)


def render(scene: Scene) -> Image.Image:
    """Draw a scene -> RGB picture."""
    picture = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (scene.background,) * 3)
    draw = ImageDraw.Draw(picture)
    for shape in scene.shapes:
        draw_shape(draw, shape, shape.rgb, (scene.background,) * 3)
    if scene.printed:
        for left, top, right, bottom, _ in print_dots(scene.printed):
            draw.rectangle((left, top, right, bottom), fill=(scene.printed.ink,) * 3)
    return picture


def draw_shape(draw: ImageDraw.ImageDraw, shape: Shape, fill: Ink, hole: Ink) -> None:
    """Draw one shape in `fill`, its hole (if it has one) in `hole`."""
    x, y, r = shape.x, shape.y, shape.radius
    box = (x - r, y - r, x + r - 1, y + r - 1)
    if shape.kind == "circle":
        draw.ellipse(box, fill=fill)
    elif shape.kind == "square":
        draw.rectangle(box, fill=fill)
    elif shape.kind == "triangle":
        draw.polygon([(x, y - r), (x - r, y + r - 1), (x + r - 1, y + r - 1)], fill=fill)
    elif shape.kind == "cross":
        arm = max(2, r // 3)
        draw.rectangle((x - r, y - arm, x + r - 1, y + arm - 1), fill=fill)
        draw.rectangle((x - arm, y - r, x + arm - 1, y + r - 1), fill=fill)
    else:
        inner = r // 2
        draw.ellipse(box, fill=fill)
        draw.ellipse((x - inner, y - inner, x + inner - 1, y + inner - 1), fill=hole)


def print_dots(printed: Print) -> list[tuple[int, int, int, int, int]]:
    """Lay out a printed text -> left, top, right, bottom (inclusive pixels) and the number of the character, per dot."""
    return [
        (left := printed.x + LETTER * place + 2 * x, top := printed.y + 2 * y, left + 1, top + 1, place)
        for place, character in enumerate(printed.text)
        for x, y in GLYPHS[character]
    ]


def _make_shape(rng: random.Random, kind: str, colour: str, row: int, column: int) -> Shape:
    size = rng.choice(tuple(SIZES))
    radius = rng.randint(*SIZES[size])
    slack = CELL // 2 - radius
    return Shape(
        kind=kind,
        colour=colour,
        size=size,
        row=row,
        column=column,
        x=CELL * column + CELL // 2 + rng.randint(-slack, slack - 1),
        y=CELL * row + CELL // 2 + rng.randint(-slack, slack - 1),
        radius=radius,
        rgb=_shade(rng, COLOURS[colour]),
    )


def _make_print(rng: random.Random, row: int, dark: bool) -> Print:
    text = rng.choice(WORDS) if rng.random() < 0.6 else str(rng.randint(10, 99))
    return Print(
        text=text,
        row=row,
        x=LETTER * rng.randrange(IMAGE_SIZE // LETTER - len(text) + 1) + rng.randint(0, 2),
        y=CELL * row + LETTER * rng.randrange(2) + rng.randint(0, 2),
        ink=rng.randint(215, 255) if dark else rng.randint(0, 40),
    )


def _shade(rng: random.Random, rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, value + rng.randint(-14, 14))) for value in rgb)
    return red, green, blue
