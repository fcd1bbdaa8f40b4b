"""Where the configs that runs inherit from are found."""

# Prefix of this project's own, in experiments/configs/bases/.
OWN = "own"


def base_expression(base: str) -> str:
    """Python for a config's ``_base_``.

    Parameters
    ----------
    base : str
        A library and a path among its configs, such as ``mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py``.
    """
    library, _, path = base.partition("::")
    if library == OWN:
        return f'__import__("experiments").__path__[0] + "/configs/bases/{path}"'
    if library != "mmseg":
        return f'"{base}"'
    # mmengine looks for a distribution called mmsegmentation, and the one for new versions of torch has another name.
    return f'__import__("mmseg").__path__[0] + "/.mim/configs/{path}"'
