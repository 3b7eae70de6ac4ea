"""What a model behind an endpoint costs, as its user says: no price is built in. Nothing is counted here."""

from __future__ import annotations

from dataclasses import dataclass

from tinyllava_core.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What the user says that asking costs."""

    sent: float | None  # money for a million tokens sent; None: not told
    back: float | None  # and for a million that come back
    a_picture: int | None  # tokens that the model takes for a picture; None: not told, and not counted

    @classmethod
    def of(cls, prices: list[float] | None, a_picture: int | None, max_tokens: int | None = None) -> Tariff:
        """Take it from a command line. Raises BadInput for numbers that are none of that."""
        if any(not 0 <= one < float("inf") for one in [*(prices or []), a_picture or 0]) or (max_tokens or 1) < 1:
            raise BadInput(
                "--price and --picture-tokens: expected 0 or more (money for a million tokens sent and for a million back; tokens that the "
                "model takes for a picture); --max-tokens: 1 or more"
            )
        sent, back = prices or (None, None)
        return cls(sent=sent, back=back, a_picture=a_picture)

    @property
    def is_told(self) -> bool:
        """Tell whether there is a price."""
        return self.sent is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How much would be asked."""

    requests: float = 0
    sent: float = 0  # tokens
    back: float = 0  # tokens, at most
    pictures: float = 0
    is_counted: bool = True  # every source was inspected

    def __add__(self, other: Asking) -> Asking:
        return Asking(
            requests=self.requests + other.requests,
            sent=self.sent + other.sent,
            back=self.back + other.back,
            pictures=self.pictures + other.pictures,
            is_counted=self.is_counted and other.is_counted,
        )

    def beside(self, tariff: Tariff) -> str:
        """Say what the tokens leave out: pictures, where nobody said what one takes."""
        return f" + {self.pictures:,.0f} pictures" if self.pictures and tariff.a_picture is None else ""

    def cost(self, tariff: Tariff) -> float:
        """Give the money it takes at most, in whatever the prices are in; 0 where none was told."""
        return (self.sent * (tariff.sent or 0) + self.back * (tariff.back or 0)) / 1e6
