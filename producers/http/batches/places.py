"""The folder of one batch: its definition, how it ended, its own hold on its input, the ledger."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Final

from local_llm_service.producers.http.batches.disk import (
    Disk,
    FileAbout,
    make_folder,
    read_json,
    ready,
    write_json,
)
from local_llm_service.producers.http.batches.record import Definition, Progress
from local_llm_service.worker.store.batches import KEPT_SECONDS, BatchRecord

_KEPT: Final = "batch.json"


@dataclass(frozen=True)
class BatchPlaces:
    """Where all that belongs to one batch is. Each method blocks, and raises FilesUnavailable."""

    disk: Disk
    batch: Definition

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.disk.batch_folder(self.batch.id)

    @property
    def input(self) -> Path:
        """Its own hold on the input, whose file may be deleted meanwhile."""
        return self.folder / "input.jsonl"

    @property
    def ledger(self) -> Path:
        """What has become of each line."""
        return self.folder / "ledger"

    @property
    def output(self) -> Path:
        """The answers."""
        return self.disk.content(self.batch.output_file_id)

    @property
    def errors(self) -> Path:
        """The failed lines."""
        return self.disk.content(self.batch.error_file_id)

    def make(self) -> bool:
        """Make the folder; False where the input has gone."""
        with ready():
            make_folder(self.folder)
            make_folder(self.output.parent)
            given = self.disk.content(self.batch.input_file_id)
            try:
                os.link(given, self.input)
            except FileNotFoundError:
                return False
            except OSError:  # a disk without links
                shutil.copyfile(given, self.input)
        return True

    def can_go_on(self, progress: Progress) -> bool:
        """Whether all files are there that a retry needs."""
        with ready():
            has_output = progress.completed == 0 or self.output.is_file()
            return has_output and self.input.is_file() and self.ledger.is_file()

    def begin(self, progress: Progress) -> None:
        """A driver begins: what an earlier run has shown is written to again."""
        self.disk.hide(self.batch.output_file_id)
        self.disk.hide(self.batch.error_file_id)
        self.keep(progress)

    def keep_first(self, progress: Progress) -> None:
        """The same as `keep`, unless a driver has been there before."""
        if not (self.folder / _KEPT).exists():
            self.keep(progress)

    def keep(self, progress: Progress) -> None:
        """Keep what Redis has of the batch, should it lose that."""
        with ready():
            pair = {"definition": self.batch.text(), "progress": progress.text()}
            write_json(self.folder / _KEPT, pair)

    def drop(self) -> None:
        """Remove the folder, and nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def show(self, which: Path, made: int) -> bool:
        """Let what was written be a file that its tenant can read; False where nothing was."""
        with ready():
            try:
                size = which.stat().st_size
            except FileNotFoundError:
                return False
            if size == 0:
                return False
            about = FileAbout(
                id=which.stem,
                bytes=size,
                created_at=made,
                filename=f"{self.batch.id}_{'output' if which == self.output else 'error'}.jsonl",
                purpose="batch_output",
                expires_at=made + self.batch.output_seconds,
            )
            self.disk.keep(about)
        return True


def kept_record(folder: Path) -> BatchRecord | None:
    """What a batch's folder says of it; None where it is none."""
    found = read_json(folder / _KEPT)
    if not isinstance(found, dict):
        return None
    return BatchRecord(folder.name, str(found["definition"]), str(found["progress"]))


def kept_records(disk: Disk) -> list[BatchRecord]:
    """The batches on the disk, without those that ended long ago: their folders are dropped."""
    found = []
    for folder in disk.batch_folders():
        with ready():
            record = kept_record(folder)
        if record is None:
            continue
        ended_at = Progress.of(record.progress).ended_at
        if ended_at is not None and ended_at + KEPT_SECONDS < time():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            found.append(record)
    return found
