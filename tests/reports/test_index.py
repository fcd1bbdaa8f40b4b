"""The page of all reports: counts, tables, figures, provenance; it needs nothing from elsewhere."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from experiments.errors import UserError
from experiments.workflow.grid import Grid
from reports.index import make_index
from reports.tidy_files import read_tidy


class Page(HTMLParser):
    """The links, images and identifiers of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.images, self.names = [], {}, set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[key] for key in ("href", "src") if key in given]
        self.names |= {given["id"]} if "id" in given else set()
        if tag == "img":
            self.images[given["src"]] = given.get("alt")


def text_of(folder):
    return (folder / "reports/index.html").read_text(encoding="utf-8")


def test_the_page_counts_runs_and_claims_and_shows_what_has_been_made(made_reports):
    text = text_of(made_reports)
    assert "1 of 6 tables have been made" in text
    assert re.search(r"<dt>runs done</dt><dd>12 of 64</dd>", text)
    assert "<dt>published gains confirmed</dt>" in text
    assert "6 of its runs have not finished" in text
    # Each has taken some 105 seconds.
    assert "Still to come: 6 of the 18 trainings of this table</b>, some 11 minutes one after another." in text
    not_made = re.search(r"<p>Not made yet: (.*)</p>", text)[1].split(" · ")
    assert [heading.partition(".")[0] for heading in not_made] == [f"Table {number}" for number in (1, 3, 4, 5, 6)]
    assert "<h2>Table 2. The modules of A²-FPN one by one" in text
    # The paper's baseline stays on top when rows are sorted.
    assert re.search(r'<tr class="baseline"><td class="name">PAFPN</td>', text)
    assert "Δ is the gain over PAFPN, with a 95 % interval over seeds" in text
    assert text.count("<table") == 3


def test_the_average_precision_of_each_class_is_folded_under_its_table(made_reports):
    text = text_of(made_reports)
    folded = text.partition("<details><summary>AP<sup>bb</sup> of each class</summary>")[2].partition("</details>")[0]
    # Two seeds, 13.0 and 13.3, one above for discs.
    assert re.search(r'<td class="name">disc</td><td data-value="14\.15">14\.\d</td>', folded)
    assert "star | &lt;b&gt;" in folded
    assert re.search(r'<td class="name">none</td>(<td>–</td>)+</tr>', folded)
    data = read_tidy(made_reports / "reports/data/table2_classes.csv")
    assert set(data["class"]) == {"disc", "star | <b>", "none"}


def test_all_links_lead_to_files_of_the_project_and_pictures_have_words(made_reports):
    page = Page(text_of(made_reports))
    assert page.addresses
    for address in page.addresses:
        assert not address.startswith(("http", "//", "/"))
        assert address[1:] in page.names if address.startswith("#") else (made_reports / "reports" / address).exists(), address
    (words,) = page.images.values()
    assert words.startswith("gains in box AP: FPN over PAFPN −2.0, ")


def test_the_page_says_how_to_cite_the_papers(made_reports):
    assert "<pre>@inproceedings{hu2021a2fpn," in text_of(made_reports)


def test_a_report_of_another_scale_is_not_shown(made_reports, monkeypatch):
    monkeypatch.chdir(made_reports)
    configuration = {"studies": ["a2fpn"], "scale": "coco", "seeds": [0, 1], "data_root": "photos", "train": "missing"}
    with pytest.raises(UserError, match=r"reports/index.html: no report of scale coco has been made; ask for one beside it"):
        make_index(Grid(configuration))


def test_a_report_called_as_the_page_is_refused(tmp_path, monkeypatch, made_reports):
    shutil.copytree(made_reports / "experiments/scales", tmp_path / "experiments/scales")
    shutil.copytree(made_reports / "experiments/studies", tmp_path / "experiments/studies")
    (tmp_path / "necks").symlink_to(made_reports / "necks")
    (tmp_path / "experiments/tasks").symlink_to(made_reports / "experiments/tasks")
    study = tmp_path / "experiments/studies/necks.yaml"
    study.write_text(study.read_text().replace("\n  necks:\n", "\n  index:\n"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"studies/necks\.yaml: a report is called index, like the page of all; rename its table"
    ):
        Grid({"studies": "necks", "scale": "demo", "seeds": 0})
