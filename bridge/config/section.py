"""What all sections of the configuration share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:/@-]+$")]


class Section(BaseModel):
    """A table of the configuration; a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
