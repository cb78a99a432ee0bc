from __future__ import annotations

import anatomist.direct.api

from . import Anatomist as Anatomist


class NotebookAnatomist(anatomist.direct.api.Anatomist):
    pass


class AnatomistInteractiveWidget:
    pass
