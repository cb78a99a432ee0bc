from __future__ import annotations

from functools import partial

from anatomist.headless import HeadlessAnatomist

Anatomist = partial(HeadlessAnatomist, implementation="anatomist.notebook.api.NotebookAnatomist")
