"""The configuration: what it may say (`settings`), and how it is read from a file (`toml`)."""

from prism.wrapper._config.secrets import Secret
from prism.wrapper._config.settings import (
    ChorusSettings,
    DatabaseSettings,
    LogSettings,
    PushSettings,
    TableSettings,
    VectorSettings,
    WrapperConfig,
    WriteSettings,
)
from prism.wrapper._config.toml import load_config, parse_config

__all__ = [
    "ChorusSettings",
    "DatabaseSettings",
    "LogSettings",
    "PushSettings",
    "Secret",
    "TableSettings",
    "VectorSettings",
    "WrapperConfig",
    "WriteSettings",
    "load_config",
    "parse_config",
]
