"""CITATION.cff as a sentence and as BibTeX."""

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.config.schema import read_yaml, validate

# What TeX would take for a command.
SPECIAL = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


class _Part(BaseModel):
    """Keys of the Citation File Format that are not used here may stand in the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Author(_Part):
    """A person, or an entity with a name."""

    name: str | None = None
    family: Annotated[str | None, Field(alias="family-names")] = None
    given: Annotated[str | None, Field(alias="given-names")] = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.name or self.family):
            raise ValueError("expected an author with `name` or with `family-names`")
        return self


class Citation(_Part):
    """What a reader needs in order to cite this."""

    title: Annotated[str, Field(min_length=1)]
    authors: Annotated[tuple[Author, ...], Field(min_length=1)]
    version: str
    released: Annotated[str, Field(alias="date-released", pattern=r"^\d{4}-\d{2}-\d{2}$")]
    license: str | None = None
    doi: str | None = None
    url: str | None = None
    repository: Annotated[str | None, Field(alias="repository-code")] = None

    @property
    def year(self) -> str:
        return self.released[:4]

    @property
    def link(self) -> str | None:
        return f"https://doi.org/{self.doi}" if self.doi else self.url or self.repository


def read_citation(path: Path) -> Citation:
    """Read CITATION.cff.

    Raises:
        UserError: missing or damaged, with the key.
    """
    data = read_yaml(path)
    # Unquoted, a version such as 1.0 is a number.
    version: dict[str, Any] = {"version": str(data["version"])} if "version" in data else {}
    return validate(Citation, {**data, **version}, str(path))


def plain_text(citation: Citation) -> str:
    """Authors (year). Title (version). Link."""
    names = [
        author.name or ", ".join(filter(None, (author.family, author.given)))
        for author in citation.authors
    ]
    listed = names[0] if len(names) == 1 else f"{'; '.join(names[:-1])} and {names[-1]}"
    said = f"{listed} ({citation.year}). {citation.title} (version {citation.version})."
    return f"{said} {citation.link}" if citation.link else said


def bibtex(citation: Citation) -> str:
    """A @misc entry, the type that every style knows for software."""
    authors = " and ".join(
        f"{{{_tex(author.name)}}}"
        if author.name
        else ", ".join(_tex(part) for part in (author.family, author.given) if part)
        for author in citation.authors
    )
    fields = {
        "author": authors,
        "title": f"{{{_tex(citation.title)}}}",
        "year": citation.year,
        "note": f"Version {_tex(citation.version)}",
        "doi": citation.doi,
        "url": None if citation.doi else citation.link,
    }
    lines = [f"  {name:<6} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{_key(citation)},", *lines, "}"])


def _tex(text: str) -> str:
    return "".join(SPECIAL.get(c, c) for c in text)


def _key(citation: Citation) -> str:
    """First word of the title and the year, in letters that BibTeX takes in a key."""
    word = re.sub(r"[^a-z0-9-]", "", citation.title.lower().split()[0])
    return f"{word or 'software'}-{citation.year}"
