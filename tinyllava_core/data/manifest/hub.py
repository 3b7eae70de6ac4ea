"""What a manifest says about data in Parquet on a hub (or in a local folder laid out like one). Nothing is fetched here."""

from __future__ import annotations

from pydantic import Field

from tinyllava_core.frozen import Frozen


class HubRows(Frozen):
    """Rows of a dataset on a hub; they become one JSON-lines file of annotations.

    With images: [{embedded: true}], its files are brought one by one, and their pictures into tars. Otherwise the `datasets`
    library loads it.
    """

    repo: str = Field(
        pattern=r"^(\.{0,2}/\S+|[\w.-]+/[\w.-]+)$",
        description="owner/name on the hub, or a local folder of Parquet files: a path that begins with / or ./",
    )
    revision: str | None = Field(None, description="Commit, tag or branch. null: what the hub gives now. Pin a commit.")
    config: str | None = Field(None, description="Configuration (subset) of the dataset. null: its default.")
    subsets: tuple[str, ...] = Field(
        (), description="Subsets to bring, by name or with * and ?, where pictures are embedded. Empty: all."
    )
    split: str = Field("train", description="Split of the dataset.")
    files: tuple[str, ...] = Field((), description="Patterns of its data files. Empty: as the dataset's card says.")
    columns: tuple[str, ...] = Field((), description="Columns to take. Empty: all but pictures and other bytes.")

    @property
    def is_local(self) -> bool:
        """Tell whether `repo` is a folder of this disk."""
        return self.repo.startswith((".", "/"))

    def written(self) -> str:
        """Write it as one URL, for lineage and messages."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub://{self.repo}{revision}/{self.config or 'default'}/{self.split}"


class HubImages(HubRows):
    """A column of pictures of such a dataset; each is written out as a file, once, with its bytes as they are."""

    image_column: str = Field("image", description="Column of the pictures.")
    name_column: str | None = Field(
        None,
        description="Column with the picture's path under the image root, as the records name it; an ending is added where "
        "it has none. null: the name that the picture has in its column, else the row's number.",
    )
    columns: tuple[()] = Field((), description="For rows of annotations only.")
