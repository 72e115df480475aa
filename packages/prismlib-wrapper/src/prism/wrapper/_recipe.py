"""How a configuration makes rows: its rules per table, its embedder, and names for both.

Two names tell what has to be done anew after a change of the configuration. The `shape` names which
rows and columns are read: another one needs a new snapshot. The `spec` names how texts and vectors
are made of them: another one needs a rebuild from the rows that the change log holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Protocol

from chorus_fabric import StreamColumn, StreamSchema
from prism.wrapper._config import TableSettings, VectorSettings, WrapperConfig
from prism.wrapper._rows import RowPlan, TableRule
from prism.wrapper._vectorizer import RowVectorizer, Vectors
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources import Column, ColumnKind, TableId, TableSchema
from prismresonance import PrismProjector
from prismresonance.embed import (
    Embedder,
    MiniLMEmbedder,
    OllamaEmbedder,
    OpenAIEmbedder,
    StaticEmbedder,
    VoyageEmbedder,
)
from prismresonance.errors import EmbedderConfigurationError, InvalidArgumentError

__all__ = ["Recipe", "TextVectorizer", "make_embedder", "make_vectorizer", "table_schema"]

_WIRE_DIM = 64


class TextVectorizer(Protocol):
    """What a recipe needs of a vectorizer."""

    @property
    def model_id(self) -> str:
        """The embedder's model."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def vectorize(self, texts: list[str]) -> Vectors:
        """Make a vector of each text."""


def make_embedder(settings: VectorSettings) -> Embedder:
    """Build the embedder that the configuration names.

    Raises:
        WrapperConfigurationError: Its extra, its key or its model is missing.
    """
    model = {"model": settings.model} if settings.model else {}
    makers: dict[str, Callable[[], Embedder]] = {
        "static": StaticEmbedder,
        "minilm": MiniLMEmbedder,
        "openai": lambda: OpenAIEmbedder(**model),
        "voyage": lambda: VoyageEmbedder(**model),
        "ollama": lambda: OllamaEmbedder(**model),
    }
    try:
        return makers[settings.embedder]()
    except (EmbedderConfigurationError, InvalidArgumentError) as error:
        raise WrapperConfigurationError(
            f'[vectors] embedder = "{settings.embedder}": {error}'
        ) from error


class Recipe:
    """The rules of a configuration, with the vectorizer that follows them.

    Args:
        config: The configuration.
        vectorizer: Makes the vectors.
    """

    def __init__(self, config: WrapperConfig, vectorizer: TextVectorizer) -> None:
        self.vectorizer = vectorizer
        self._tables = config.tables
        self._text_chars = config.vectors.text_chars
        self.shape = json.dumps(
            {
                "tables": {table.name: sorted(table.columns) for table in config.tables},
                "schemas": [] if config.tables else sorted(config.database.schemas),
            },
            sort_keys=True,
        )
        self.vectors = json.dumps(
            {
                "model_id": vectorizer.model_id,
                "dim": vectorizer.dim,
                "wire": config.vectors.wire,
                # Another tenant projects in another way.
                "tenant_id": config.chorus.tenant_id
                if config.vectors.wire == "projected"
                else "",
            },
            sort_keys=True,
        )
        self.spec = json.dumps(
            {
                "vectors": self.vectors,
                "texts": {table.name: _text_of(table) for table in config.tables},
                "text_chars": config.vectors.text_chars,
            },
            sort_keys=True,
        )

    def shares_vectors(self, spec: str) -> bool:
        """Say whether rows of another spec have the same vectors where their texts are equal."""
        try:
            return bool(json.loads(spec)["vectors"] == self.vectors)
        except (ValueError, KeyError, TypeError):
            return False

    def rule(self, table: TableId) -> TableRule:
        """What is wanted of a table."""
        for settings in self._tables:
            if settings.name in (table.name, f"{table.schema}.{table.name}"):
                return TableRule(
                    columns=settings.columns,
                    text=settings.text,
                    text_columns=settings.text_columns,
                    numeric=settings.numeric,
                    embed=settings.embed,
                    text_chars=self._text_chars,
                )
        return TableRule(text_chars=self._text_chars)

    def plan(self, schema: TableSchema) -> RowPlan:
        """What becomes of rows of a table."""
        return RowPlan(schema, self.rule(schema.table))

    def stream_schema(self, plan: RowPlan) -> StreamSchema:
        """Describe a table to its readers; the stream's number is not set."""
        schema = plan.schema
        embeds = plan.rule.embed
        return StreamSchema(
            stream=0,
            database=schema.table.database,
            schema=schema.table.schema,
            name=schema.table.name,
            columns=tuple(
                StreamColumn(name=column.name, type_name=column.type_name, kind=column.kind.value)
                for column in (schema.columns[position] for position in plan.sent_columns)
            ),
            key=tuple(schema.columns[position].name for position in schema.key),
            model_id=self.vectorizer.model_id if embeds else "",
            dim=self.vectorizer.dim if embeds else 0,
        )

    def rebuilt(self, stored: StreamSchema) -> StreamSchema:
        """Describe a table of the log as it will be once its rows are made by this recipe."""
        described = self.stream_schema(self.plan(table_schema(stored)))
        return replace(described, stream=stored.stream, columns=stored.columns)


def make_vectorizer(
    config: WrapperConfig, *, pause: Callable[[float], bool] | None = None
) -> RowVectorizer:
    """Build what makes the vectors.

    Raises:
        WrapperConfigurationError: The embedder cannot be built.
    """
    projector = None
    if config.vectors.wire == "projected":
        projector = PrismProjector(dim=_WIRE_DIM, tenant_id=config.chorus.tenant_id)
    return RowVectorizer(
        make_embedder(config.vectors),
        batch_size=config.vectors.batch,
        projector=projector,
        pause=pause,
    )


def table_schema(stored: StreamSchema) -> TableSchema:
    """Make of a stream's description what a source would say of the table."""
    names = [column.name for column in stored.columns]
    return TableSchema(
        table=TableId(stored.database, stored.schema, stored.name),
        columns=tuple(
            Column(column.name, column.type_name, ColumnKind(column.kind))
            for column in stored.columns
        ),
        key=tuple(names.index(name) for name in stored.key),
    )


def _text_of(table: TableSettings) -> dict[str, object]:
    settings = asdict(table)
    return {name: settings[name] for name in ("text", "text_columns", "numeric", "embed")}
