"""Values that hypothesis makes up."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
