"""The TiDB source of a configuration."""

from __future__ import annotations

import os

from prism.wrapper._config import WrapperConfig
from prism.wrapper.errors import WrapperConfigurationError
from prism.wrapper.sources import Source
from prism.wrapper.sources.tidb import TidbSettings, TidbSource

__all__ = ["open_tidb", "tidb_settings"]

_FIRST_CONTACT_S = 30.0
_FOR_EVER_S = 3e9


def open_tidb(config: WrapperConfig, patient: bool) -> Source:  # noqa: FBT001 - as its siblings
    """Make the source; told whether to wait for ever at the first contact."""
    return TidbSource(tidb_settings(config, patient=patient))


def tidb_settings(config: WrapperConfig, *, patient: bool = False) -> TidbSettings:
    """What the configuration says to the TiDB source.

    Raises:
        WrapperConfigurationError: There is no token, or something is asked for that is not there.
        SourceConfigurationError: Another setting is wrong.
    """
    if config.write.tables:
        raise WrapperConfigurationError(
            "[write] tables: drivers cannot write to a TiDB through this version; leave it out"
        )
    push = config.push
    spool = push.spool or config.log_path.with_name(f"{config.log_path.name}.push")
    return TidbSettings(
        dsn=config.database.dsn.reveal(),
        tables=tuple(table.name for table in config.tables),
        spool=spool,
        token=_token(config),
        listen_host=push.listen_host,
        listen_port=push.listen_port,
        grpc_port=push.grpc_port,
        certificate=config.chorus.certificate,
        key=config.chorus.key,
        partitions=push.partitions,
        time_zone=push.time_zone,
        memory_bytes=push.memory_bytes,
        window_bytes=max(push.window_bytes, push.memory_bytes),
        batch_bytes=push.batch_bytes,
        first_contact_s=_FOR_EVER_S if patient else _FIRST_CONTACT_S,
    )


def _token(config: WrapperConfig) -> str:
    push = config.push
    if bool(push.token_file) == bool(push.token_env):
        raise WrapperConfigurationError(
            "[push] needs one of token_file and token_env: what pushers show, such as the output "
            "of `openssl rand -hex 32`"
        )
    if push.token_env:
        token = os.environ.get(push.token_env, "")
        if not token:
            raise WrapperConfigurationError(
                f"[push] token_env: the environment variable {push.token_env} is not set"
            )
        return token.strip()
    assert push.token_file is not None  # noqa: S101 - one of the two is given
    try:
        return push.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WrapperConfigurationError(
            f"[push] token_file: {push.token_file} cannot be read: {reason}"
        ) from None
