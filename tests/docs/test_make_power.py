"""The page on what claims cost is the one that the study gives."""

from pathlib import Path

from docs.make_power import page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_on_power_is_generated_from_the_study(tmp_path, monkeypatch):
    written = (ROOT / "docs/power.md").read_text(encoding="utf-8")
    for folder in ("experiments", "necks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)  # where no runs have left a standard deviation of their own
    assert page() == written
