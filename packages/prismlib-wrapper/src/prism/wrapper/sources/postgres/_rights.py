"""Whether a role may read the stream of changes: asked by the check and before the first start."""

from __future__ import annotations

from typing import Final

from prism.wrapper.sources.postgres._session import Session

__all__ = ["MAY_REPLICATE_SQL", "may_replicate"]

# Of a row `r` of pg_roles. Managed databases give a role of their own in place of the attribute.
MAY_REPLICATE_SQL: Final = (
    "(r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname IN "
    "('rds_replication', 'cloudsqlreplica', 'azure_pg_admin') "
    "AND pg_has_role(r.oid, g.oid, 'USAGE')))"
)


def may_replicate(session: Session) -> bool:
    """Ask for the role of a session."""
    ((may,),) = session.rows(
        f"SELECT {MAY_REPLICATE_SQL} FROM pg_roles r WHERE rolname = current_user"  # noqa: S608
    )
    return bool(may)
