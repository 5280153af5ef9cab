"""Hand out the files that runs made: listed on their pages, downloaded piece by piece, and never shown in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import normalize
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from flask import current_app, stream_with_context
from werkzeug import Response

from dashboard.core.orm import db, tenant_session
from dashboard.runs.models import Artifact, ArtifactChunk

SHOWN_NOWHERE = "sandbox; default-src 'none'"
"""A content security policy for a file of which nobody knows what is in it."""


def artifacts_of(run_id: UUID) -> Sequence[Artifact]:
    """Return the files that a run of the bound tenant made, by name."""
    return db.session.scalars(sa.select(Artifact).where(Artifact.run_id == run_id).order_by(Artifact.name)).all()


def artifact(run_id: UUID, name: str) -> Artifact | None:
    """Return the file of this name, or None: of another tenant's run there is none."""
    query = sa.select(Artifact).where(Artifact.run_id == run_id, Artifact.name == name)
    return db.session.scalars(query).one_or_none()


def download(file: Artifact) -> Response:
    """Return the file as one to be saved: a browser neither shows it nor guesses what it is."""
    response = current_app.response_class(stream_with_context(_chunks(file.id)), mimetype=file.media_type)
    response.content_length = file.size
    response.headers.set("Content-Disposition", "attachment", **_names(file.name))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = SHOWN_NOWHERE
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _names(name: str) -> dict[str, str]:
    """Return the parameters for a name in any script, and for those who read only ASCII (RFC 6266, appendix D)."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode().replace('"', "")
    return {"filename": plain or "file", "filename*": f"UTF-8''{quote(name, safe='')}"}


def _chunks(artifact_id: UUID) -> Iterator[bytes]:
    """Each piece is read in a transaction of its own: a slow reader must not hold one open."""
    query = sa.select(ArtifactChunk.data).where(ArtifactChunk.artifact_id == artifact_id)
    position = 0
    while True:
        with tenant_session() as session:
            data = session.scalar(query.where(ArtifactChunk.position == position))
        if data is None:
            return
        yield data
        position += 1
