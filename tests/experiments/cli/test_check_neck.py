"""``check-neck`` prints one page about a neck, or one sentence about what it breaks."""

import pytest

from tests.own_necks import NECK
from tests.workflow.sentences import sentence_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def project(shared_project):
    """A project with a neck of its own; the test's scale is small."""
    (shared_project / "necks/mine.py").write_text(NECK)
    return shared_project


@pytest.mark.torch
def test_the_page_says_levels_behaviour_and_cost(project):
    result = project.python("-m", "experiments", "check-neck", "Mine")
    assert result.returncode == 0, result.stderr
    page = result.stdout
    assert page.startswith("neck Mine, in mask_rcnn, resnet50, scale instant\n")
    assert "(1, 16, 64, 96)" in page
    assert "right  gradients of all parameters: all 8 get one" in page
    parameters = next(line for line in page.splitlines() if "parameters of the neck" in line)
    # Four 1x1 convolutions of 8, 16, 32 and 64 channels to 16; FPN has four 3x3 convolutions beside them.
    own = 16 * (8 + 16 + 32 + 64) + 4 * 16
    assert parameters.split()[4:6] == [f"{own / 1e6:.3g}", "M"]
    assert parameters.split()[-1] == f"{own / (own + 4 * (16 * 16 * 9 + 16)):.2f}"
    assert "A training at scale coco (mask_rcnn, resnet50, 1x) takes about" in page


@pytest.mark.torch
def test_a_neck_that_cannot_be_counted_has_its_page_all_the_same(project):
    page = project.python("-m", "experiments", "check-neck", "Mine", "--option", "asks=true").stdout
    assert "multiply-adds and memory: not counted" in page, page
    assert "forward pass, two images, this CPU" in page


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["Mine", "--option", "pools=0"], "neck Mine, pools: 0, in mask_rcnn, resnet50, scale instant: found 4 levels; wanted"),
        (["A2FPN", "--option", "context_ratio=0"], "A2FPN: context_ratio * out_channels is 0; it must be a multiple of 4"),
    ],
)
def test_a_broken_contract_is_one_sentence(project, arguments, sentence):
    assert sentence in sentence_of(project.python("-m", "experiments", "check-neck", *arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["Yours"], "error: check-neck: neck: unknown neck 'Yours'; allowed: A2FPN, "),
        (["Mine", "--option", "pools"], "error: --option pools: expected key=value, such as top_down=nearest"),
        (["Mine", "--option", "pools=[1"], "error: --option pools=[1: expected key=value"),
        (["Mine", "--option", "poles=2"], "neck Mine has no option 'poles'; allowed: pools, asks"),
        (["Mine", "--option", "pools=two"], "neck Mine: pools is 'two'; allowed: a whole number"),
        (["Mine", "--detector", "yolo"], "error: detector 'yolo' is not offered by scale instant; allowed: mask_rcnn, htc"),
        (["Mine", "--backbone", "vit"], "error: backbone 'vit' is not offered by scale instant; allowed: resnet50"),
    ],
)
def test_a_wrong_name_or_option_is_one_sentence(project, arguments, sentence):
    assert sentence in sentence_of(project.python("-m", "experiments", "check-neck", *arguments))
