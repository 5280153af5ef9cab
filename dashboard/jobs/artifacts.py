"""Take the files that a job makes, within limits, into the transaction of its other work."""

from __future__ import annotations

import re
from collections.abc import Iterable
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import current_app

from dashboard.core.ids import new_id
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.jobs.outcomes import PermanentError
from dashboard.runs.models import Artifact, ArtifactChunk

CHUNK_BYTES = 256 * 1024
MEGABYTE = 1024 * 1024
NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?charset=[\w-]+)?")


class BadArtifact(PermanentError):
    """A file's name has no slash and no control character, and its media type is one like text/csv."""


class ArtifactTooLarge(PermanentError):
    """A file is larger than the installation allows."""


class ArtifactFile(SpooledTemporaryFile[bytes]):
    """A binary file that is kept with the run once it is closed without an error.

    It may be written in any order, as zip files and PDFs are. It takes the place of one with the same name.
    """

    def __init__(self, run_id: UUID, name: str, media_type: str) -> None:
        super().__init__(max_size=CHUNK_BYTES)
        self.run_id = run_id
        self.artifact = name
        self.media_type = media_type
        self.most = int(current_app.config["ARTIFACT_MB"]) * MEGABYTE

    def write(self, data: Any) -> int:
        """Write bytes. Raises ArtifactTooLarge."""
        written = super().write(data)
        if self.tell() > self.most:
            raise ArtifactTooLarge(f"{self.artifact} is larger than {self.most // MEGABYTE} MB.")
        return written

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Keep what was written. Raises ArtifactTooLarge if the run's files are too large together."""
        if not self.closed:
            try:
                self._keep()
            finally:
                super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            super().close()

    def __del__(self) -> None:
        super().close()  # nobody closed it, so it is not meant to be kept

    def _keep(self) -> None:
        size = self.seek(0, 2)
        self._make_room(size)
        artifact_id, owner = new_id(), {"tenant_id": current_tenant().id, "run_id": self.run_id}
        session = db.session()
        session.execute(
            sa.insert(Artifact).values(
                id=artifact_id, name=self.artifact, media_type=self.media_type, size=size, **owner
            )
        )
        self.seek(0)
        for position, data in enumerate(iter(lambda: self.read(CHUNK_BYTES), b"")):
            session.execute(
                sa.insert(ArtifactChunk).values(artifact_id=artifact_id, position=position, data=data, **owner)
            )

    def _make_room(self, size: int) -> None:
        """Forget the file that this one takes the place of, and see whether both the run and this one fit."""
        session = db.session()
        of_run = Artifact.run_id == self.run_id
        session.execute(sa.delete(Artifact).where(of_run, Artifact.name == self.artifact))
        others = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(Artifact.size), 0)).where(of_run)) or 0
        most = int(current_app.config["ARTIFACTS_MB_PER_RUN"])
        if others + size > most * MEGABYTE:
            raise ArtifactTooLarge(f"With {self.artifact}, the files of this run are larger than {most} MB together.")


def new_artifact(run_id: UUID, name: str, media_type: str) -> ArtifactFile:
    """Return a file to write to. Raises BadArtifact."""
    if not NAME.fullmatch(name) or name in {".", ".."} or not MEDIA_TYPE.fullmatch(media_type):
        raise BadArtifact
    return ArtifactFile(run_id, name, media_type)
