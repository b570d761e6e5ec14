"""What the package imports and a machine may lack, for the seven dimensions alone.

Nothing is replaced that is installed. Scores and times of networks are the package's own; frames
are read by OpenCV where decord lacks (equal pixels for videos that name no colour matrix).
"""

import importlib.util
import sys
import types


def install():
    """Put a module in place for each that lacks."""
    if importlib.util.find_spec("decord") is None:
        sys.modules["decord"] = _decord(types.ModuleType("decord"))
    try:
        from pkg_resources import packaging  # noqa: F401
    except ImportError:  # setuptools has neither since version 81, and not this one since 70
        sys.modules["pkg_resources"] = _pkg_resources(types.ModuleType("pkg_resources"))
    for name in ("facexlib", "imgaug", "lmdb"):  # what all of pyiqa needs, but MUSIQ does not
        if importlib.util.find_spec(name) is None:
            _only_musiq()
            break


def _decord(module):
    """Read all frames by OpenCV; the package asks for a range of them."""
    import cv2
    import numpy as np

    class Frames(np.ndarray):
        def asnumpy(self):
            return np.asarray(self)

    class VideoReader:
        def __init__(self, path, num_threads=1):
            video = cv2.VideoCapture(path)
            self.frames = []
            while True:
                found, frame = video.read()
                if not found:
                    break
                self.frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))

        def __len__(self):
            return len(self.frames)

        def get_batch(self, indices):
            return np.stack([self.frames[i] for i in indices]).view(Frames)

    module.VideoReader, module.cpu = VideoReader, None
    module.bridge = types.SimpleNamespace(set_bridge=lambda name: None)
    return module


def _pkg_resources(module):
    """Give openai-clip the packaging that it takes from there."""
    import packaging.version

    module.packaging = packaging
    return module


def _only_musiq():
    """Let modules of pyiqa be imported one by one, without all other metrics."""
    root = importlib.util.find_spec("pyiqa").submodule_search_locations[0]
    for name in ("", ".archs", ".data", ".utils", ".matlab_utils"):
        package = types.ModuleType("pyiqa" + name)
        package.__path__ = [root + name.replace(".", "/")]
        sys.modules["pyiqa" + name] = package
    # MUSIQ takes its padding from the package, not from the module.
    padding = importlib.import_module("pyiqa.matlab_utils.padding")
    for name in ("ExactPadding2d", "exact_padding_2d"):
        setattr(sys.modules["pyiqa.matlab_utils"], name, getattr(padding, name))
