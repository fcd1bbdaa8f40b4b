"""The page of all reports in a real browser: headings sort their columns, nothing is fetched, nothing is cut."""

import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM and not os.environ.get("BROWSER_REQUIRED"), reason="needs Chromium: apt-get install chromium"
    ),
]
# Click the heading of a column three times, and say what the first names are after each.
CLICKS = """
<script>
const table = document.querySelector("table.sortable"), said = [];
const head = [...table.tHead.rows[0].cells].find(cell => cell.textContent === "HEADING");
const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(" ");
said.push("before: " + names());
for (let click = 0; click < 3; click++) { head.querySelector("button").click(); said.push(head.ariaSort + ": " + names()); }
said.push("fits: " + (document.documentElement.scrollWidth <= window.innerWidth));
document.body.append(Object.assign(document.createElement("pre"), {id: "said", textContent: said.join("\\n")}));
</script>
"""
NAMES = "FPN PAFPN MC GE GP MC+GE MC+GP GE+GP MC+GE+GP"


def said(made_reports, folder, heading, width=1200):
    """What the page says after the clicks."""
    text = (made_reports / "reports/index.html").read_text(encoding="utf-8")
    page = folder / "index.html"
    shutil.copytree(made_reports / "reports/figures", folder / "figures")
    page.write_text(text.replace("</html>", CLICKS.replace("HEADING", heading) + "</html>"), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", f"--window-size={width},900",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, text=True, capture_output=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    (lines,) = re.findall(r'<pre id="said">(.*?)</pre>', result.stdout, re.DOTALL)
    return dict(line.split(": ", 1) for line in lines.splitlines())


def test_a_heading_sorts_its_column_and_the_baseline_stays_on_top(made_reports, tmp_path):
    order = said(made_reports, tmp_path, "APbb")
    assert order["before"] == order["none"] == NAMES
    assert order["descending"] == "PAFPN MC+GE+GP GE MC FPN GP MC+GE MC+GP GE+GP"
    assert order["ascending"] == "PAFPN GP FPN MC GE MC+GE+GP MC+GE MC+GP GE+GP"


def test_names_sort_as_text(made_reports, tmp_path):
    assert said(made_reports, tmp_path, "Neck")["ascending"].split()[:3] == ["PAFPN", "FPN", "GE"]


def test_the_page_fits_a_narrow_window(made_reports, tmp_path):
    assert said(made_reports, tmp_path, "Neck", width=500)["fits"] == "true"
