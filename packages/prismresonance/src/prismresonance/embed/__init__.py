"""Text to unit vectors: local models, and providers through their own SDKs.

Importing this package loads none of the extras; constructing an embedder loads what that one needs
and raises `EmbedderConfigurationError` with the extra to install if it is not there.
"""

from __future__ import annotations

from prismresonance.embed._minilm import MiniLMEmbedder
from prismresonance.embed._ollama import OllamaEmbedder
from prismresonance.embed._openai import OpenAIEmbedder
from prismresonance.embed._protocol import Embedder, SelectiveEmbedder
from prismresonance.embed._static import StaticEmbedder
from prismresonance.embed._voyage import VoyageEmbedder

__all__ = [
    "Embedder",
    "MiniLMEmbedder",
    "OllamaEmbedder",
    "OpenAIEmbedder",
    "SelectiveEmbedder",
    "StaticEmbedder",
    "VoyageEmbedder",
]
