"""Hook of mkdocs: what the pages show from other folders of the project, such as pictures, becomes part of the site."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to outside of ``docs/``, under their paths in the project."""
    root = Path(config.docs_dir).parent
    targets = {target for page in files.documentation_pages() for target in OUTSIDE.findall(page.content_string)}
    for target in sorted(targets):
        files.append(File.generated(config, target, abs_src_path=str(root / target), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links lead there."""
    return OUTSIDE.sub(r"](\1)", markdown)
