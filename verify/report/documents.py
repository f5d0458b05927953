"""Everything that is written of a run: what is published, what it rests on, and the page with plots."""

from __future__ import annotations

from pathlib import Path

from env.atomic import write_text
from env.language import LANGUAGES
from verify.report.campaign import Campaign, Damaged
from verify.report.html import REPORT_FILE, render_html
from verify.report.render import DOCUMENTS, render
from verify.run.records import Evidence


def write_documents(evidence: Evidence, folder: Path, campaign: Campaign | Damaged | None = None) -> list[Path]:
    """Write every document into `folder` and return their paths, what is to be read first first.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    texts = {
        f"{document}.{language}.md": render(evidence, language, campaign, document=document)
        for document in DOCUMENTS
        for language in LANGUAGES
    }
    texts[REPORT_FILE] = render_html(evidence, campaign)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
