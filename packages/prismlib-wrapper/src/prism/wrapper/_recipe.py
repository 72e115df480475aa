"""How a configuration makes rows: its rules per table, its embedder, and names for both.

Two names tell what has to be done anew after a change of the configuration. The `shape` names which
rows and columns are read: another one needs a new snapshot. The `spec` names how texts and vectors
are made of them: another one needs a rebuild from the rows that the change log holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Protocol

import numpy as np

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

    def vectorize(self, texts: Sequence[str]) -> Vectors:
        """Make a vector of each text."""


def make_embedder(settings: VectorSettings) -> Embedder:
    """Build the embedder that the configuration names.

    Raises:
        WrapperConfigurationError: Its extra, its key or its model is missing.
    """
    model = settings.model
    makers: dict[str, Callable[[], Embedder]] = {
        "static": StaticEmbedder,
        "minilm": MiniLMEmbedder,
        "openai": lambda: OpenAIEmbedder(model),
        "voyage": lambda: VoyageEmbedder(model),
        "ollama": lambda: OllamaEmbedder(model),
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
        tables: What is wanted of the tables.
        vectors: How texts become vectors.
        tenant_id: Whose rows they are.
        vectorizer: Makes the vectors.
        schemas: Whose tables are read where none is named.
    """

    def __init__(
        self,
        tables: tuple[TableSettings, ...],
        vectors: VectorSettings,
        *,
        tenant_id: str,
        vectorizer: TextVectorizer,
        schemas: tuple[str, ...] = (),
    ) -> None:
        self.vectorizer = vectorizer
        self._tables = tables
        self._text_chars = vectors.text_chars
        self.shape = _json(
            {
                "tables": {table.name: sorted(table.columns) for table in tables},
                "schemas": [] if tables else sorted(schemas),
            }
        )
        self._vectors = {
            "model_id": vectorizer.model_id,
            "dim": vectorizer.dim,
            "wire": vectors.wire,
            # Another tenant projects in another way.
            "tenant_id": tenant_id if vectors.wire == "projected" else "",
        }
        self.spec = _json(
            {
                "vectors": self._vectors,
                "embedder": vectors.embedder,
                "model": vectors.model,
                "text_chars": vectors.text_chars,
                "tables": [asdict(table) for table in tables],
            }
        )

    @classmethod
    def of(cls, config: WrapperConfig, vectorizer: TextVectorizer) -> Recipe:
        """The recipe of a configuration."""
        return cls(
            config.tables,
            config.vectors,
            tenant_id=config.chorus.tenant_id,
            vectorizer=vectorizer,
            schemas=config.database.schemas,
        )

    @classmethod
    def from_spec(cls, spec: str) -> Recipe:
        """The recipe that rows of an earlier configuration were made by.

        Where its embedder is not here any more, its vectors are zeros: rows that change while they
        wait for the new model are found by key and filter, and by meaning once that is complete.
        """
        told = json.loads(spec)
        vectors = told["vectors"]
        settings = VectorSettings(
            embedder=told["embedder"],
            model=told["model"],
            wire=vectors["wire"],
            text_chars=told["text_chars"],
        )
        tables = tuple(
            TableSettings(
                name=table["name"],
                columns=tuple(table["columns"]),
                text=table["text"],
                text_columns=tuple(table["text_columns"]),
                numeric={name: (low, high) for name, (low, high) in table["numeric"].items()},
                embed=table["embed"],
            )
            for table in told["tables"]
        )
        vectorizer: TextVectorizer = NoVectors(vectors["model_id"], vectors["dim"])
        try:
            made = make_vectorizer(settings, tenant_id=vectors["tenant_id"] or "none")
            if (made.model_id, made.dim) == (vectors["model_id"], vectors["dim"]):
                vectorizer = made
        except WrapperConfigurationError:
            pass
        return cls(tables, settings, tenant_id=vectors["tenant_id"], vectorizer=vectorizer)

    def shares_vectors(self, spec: str) -> bool:
        """Say whether rows of another spec have the same vectors where their texts are equal."""
        try:
            return bool(json.loads(spec)["vectors"] == self._vectors)
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


class NoVectors:
    """Stands for an embedder that is not here: every text gets zeros."""

    def __init__(self, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim

    def vectorize(self, texts: Sequence[str]) -> Vectors:
        """Give zeros, and no faults."""
        return Vectors(rows=np.zeros((len(texts), self.dim), np.float32), faults={})


def make_vectorizer(
    vectors: VectorSettings, *, tenant_id: str, pause: Callable[[float], bool] | None = None
) -> RowVectorizer:
    """Build what makes the vectors.

    Raises:
        WrapperConfigurationError: The embedder cannot be built.
    """
    projector = None
    if vectors.wire == "projected":
        projector = PrismProjector(dim=_WIRE_DIM, tenant_id=tenant_id)
    return RowVectorizer(
        make_embedder(vectors), batch_size=vectors.batch, projector=projector, pause=pause
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


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
