from __future__ import annotations

import anatomist.direct.api


class Anatomist(anatomist.direct.api.Anatomist):
    pass
