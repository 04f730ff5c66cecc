"""See why a vision-and-language model gave its answer.

>>> import xai
>>> explainer = xai.load()
>>> explainer.explain("examples/scene1.png", "What color is the circle?").save("why.png")
"""

from xai.base.errors import BadInput, XaiError
from xai.base.versions import XAI_VERSION as __version__
from xai.models.load import load

__all__ = ["BadInput", "XaiError", "__version__", "load"]


def __dir__() -> list[str]:
    return __all__
