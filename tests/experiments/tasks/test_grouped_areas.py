"""Categories and instances equal a count of single pixels, and Cityscapes' own code."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experiments.spec.scale import load_scale
from experiments.tasks.grouped_areas import Groups
from experiments.tasks.true_label_maps import TrueLabelMaps, measure, stack

CLASSES, IGNORED = ["road", "sky", "car", "bus", "person"], 255
CATEGORIES = {"still": ["road", "sky"], "vehicle": ["car", "bus"], "human": ["person"]}
MEAN_PIXELS = {"car": 10.0, "bus": 3.0, "person": 2.5}
HEIGHT, WIDTH = 3, 4
GROUPS = Groups.of(CLASSES, CATEGORIES, MEAN_PIXELS)


@st.composite
def images(draw):
    """Predicted labels, true labels, instances: some objects of a class are one region without instances, as groups are."""
    pixels = HEIGHT * WIDTH
    predicted = draw(st.lists(st.integers(0, 4), min_size=pixels, max_size=pixels))
    instances = draw(st.lists(st.sampled_from([0, 7, 24, 26000, 26001, 28000, 24000, 29000]), min_size=pixels, max_size=pixels))
    label_of = {26000: 2, 26001: 2, 28000: 3, 24000: 4, 24: 4, 29000: IGNORED, 0: IGNORED}
    truth = [label_of[number] if number in label_of else draw(st.integers(0, 1)) for number in instances]
    return tuple(np.array(part).reshape(HEIGHT, WIDTH) for part in (predicted, truth, instances))


def percent_or_nan(part, whole):
    return 100 * part / whole if whole else float("nan")


def mean(values):
    there = [value for value in values if value == value]
    return sum(there) / len(there) if there else float("nan")


def counted(many, members, told_apart):
    """One value for each class or category, from single pixels and single instances."""
    values, of_instances = [], []
    for labels in members:
        common = either = 0
        hit = all_weights = false = 0.0
        for predicted, truth, instances in many:
            for place in np.ndindex(predicted.shape):
                if truth[place] == IGNORED:
                    continue
                in_prediction, in_truth = predicted[place] in labels, truth[place] in labels
                common += in_prediction and in_truth
                either += in_prediction or in_truth
                false += in_prediction and not in_truth
            for number in set(instances[instances > 1000].tolist()):
                mask = instances == number
                (label,) = set(truth[mask].tolist())
                if label in labels:
                    weight = MEAN_PIXELS[CLASSES[label]] / mask.sum()
                    all_weights += weight * mask.sum()
                    hit += weight * sum(int(found) in labels for found in predicted[mask])
        values.append(percent_or_nan(common, either))
        if set(labels) <= told_apart:
            of_instances.append(percent_or_nan(hit, all_weights + false))
    return mean(values), mean(of_instances)


@given(st.lists(images(), min_size=1, max_size=3))
def test_metrics_of_groups_equal_a_count_of_single_pixels(many):
    found = [{"mIoU": np.zeros((3, 1)), **GROUPS.areas(*image, IGNORED)} for image in many]
    ours = measure({name: areas.sum(axis=0) for name, areas in stack(found).items()})
    _, of_classes = counted(many, [[label] for label in range(5)], {2, 3, 4})
    categories = [[CLASSES.index(name) for name in names] for names in CATEGORIES.values()]
    of_categories = counted(many, categories, {2, 3, 4})
    expected = {"category_IoU": of_categories[0], "iIoU": of_classes, "category_iIoU": of_categories[1]}
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-12, err_msg=name)


def test_an_instance_counts_alike_whatever_its_size():
    instances = np.array([[26000] * 11 + [26001]])
    truth, predicted = np.full((1, 12), 2), np.array([[2] * 11 + [0]])
    areas = GROUPS.areas(predicted, truth, instances, IGNORED)
    found = measure({name: part for name, part in {"mIoU": np.zeros((3, 1)), **areas}.items()})
    assert found["iIoU"] == pytest.approx(50)
    assert found["category_IoU"] == pytest.approx((11 / 12 * 100 + 0) / 2)


def test_without_maps_of_instances_categories_alone_are_measured():
    areas = GROUPS.areas(np.zeros((2, 2), int), np.zeros((2, 2), int), None, IGNORED)
    assert set(areas) == {"category_IoU"}


def random_cityscapes(generator, size):
    """Label ids, train ids and instance ids of rectangles, groups, void and classes that do not count among them."""
    from cityscapesscripts.helpers.labels import labels

    there = [label for label in labels if label.id >= 0]
    label_ids, instances = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    for number in range(40):
        label = there[generator.integers(len(there))]
        top, left = generator.integers(0, size[0] - 4), generator.integers(0, size[1] - 4)
        part = np.s_[top : top + generator.integers(2, 24), left : left + generator.integers(2, 40)]
        is_group = generator.random() < 0.2
        label_ids[part] = label.id
        instances[part] = label.id * 1000 + number if label.hasInstances and not is_group else label.id
    train_ids = np.vectorize({label.id: label.trainId for label in labels}.get)(label_ids).astype(np.uint8)
    return label_ids, train_ids, instances


@pytest.mark.arbiter
@pytest.mark.filterwarnings("ignore:`in1d` is deprecated:DeprecationWarning")
def test_metrics_equal_those_of_cityscapesscripts(tmp_path):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as theirs  # noqa: N813

    generator, scale = np.random.default_rng(0), load_scale("cityscapes")
    class_ids, dataset = np.array(scale.test_set.class_ids), scale.dataset
    for folder in ("truth", "ours", "theirs"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        name, size = f"ulm_{number:06}_000019", (48, 96)
        label_ids, train_ids, instances = random_cityscapes(generator, size)
        found = np.where((generator.random(size) < 0.6) & (train_ids < 19), train_ids, generator.integers(0, 19, size))
        Image.fromarray(train_ids).save(tmp_path / f"truth/{name}_gtFine_labelTrainIds.png")
        Image.fromarray(label_ids).save(tmp_path / f"truth/{name}_gtFine_labelIds.png")
        Image.fromarray(instances.astype(np.uint16)).save(tmp_path / f"truth/{name}_gtFine_instanceIds.png")
        Image.fromarray(found.astype(np.uint8)).save(tmp_path / f"ours/{name}_leftImg8bit.png")
        Image.fromarray(class_ids[found].astype(np.uint8)).save(tmp_path / f"theirs/{name}_leftImg8bit.png")
    groups = Groups.of(dataset.classes, dataset.categories, dataset.instances.mean_pixels)
    endings = dataset.image_ending, dataset.map_ending
    maps = TrueLabelMaps(tmp_path / "truth", *endings, 19, 255, False, groups, dataset.instances.map_ending)
    ours = measure({name: part.sum(axis=0) for name, part in stack(maps.read_areas(tmp_path / "ours").values()).items()})
    arguments = SimpleNamespace(**{**vars(theirs.args), "quiet": True, "JSONOutput": False})
    pairs = [
        sorted(map(str, (tmp_path / folder).glob(pattern)))
        for folder, pattern in (("theirs", "*"), ("truth", "*_labelIds.png"))
    ]
    expected = theirs.evaluateImgLists(*pairs, arguments)
    names = {"mIoU": "Classes", "iIoU": "InstClasses", "category_IoU": "Categories", "category_iIoU": "InstCategories"}
    for name, key in names.items():
        assert ours[name] == pytest.approx(100 * expected[f"averageScore{key}"], rel=1e-12), name
