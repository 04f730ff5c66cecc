"""Fonts for any script: matplotlib's own, and what else is installed where that one lacks a character.

matplotlib shapes text and orders right-to-left text within a line itself (since 3.11); which way a line as a whole runs is said here.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontEntry, FontProperties, findSystemFonts, fontManager
from matplotlib.ft2font import FaceFlags, FT2Font, StyleFlags

from xai.base.wording import one_line

_OWN = "DejaVu Sans"


@cache
def _own_file(bold: bool) -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@cache
def _own_characters() -> frozenset[int]:
    """What both weights of matplotlib's own font have."""
    regular, bold = (set(FT2Font(str(_own_file(weight))).get_charmap()) for weight in (False, True))
    return frozenset(regular & bold)


@cache
def _others(characters: frozenset[str]) -> tuple[tuple[str, frozenset[str]], ...]:
    """The fewest families of installed fonts that have what they can of `characters`, which matplotlib's own font lacks.

    Each comes with the characters that it is taken for.
    """
    found: dict[tuple[bool, str], frozenset[str]] = {}
    for file in findSystemFonts():
        try:
            font = FT2Font(file)
        except (OSError, RuntimeError):  # damaged, or of a kind that FreeType does not read
            continue
        if font.face_flags & FaceFlags.SCALABLE:  # pictures of emoji are not
            slanted_or_bold = bool(font.style_flags & (StyleFlags.ITALIC | StyleFlags.BOLD))
            found[slanted_or_bold, file] = frozenset(c for c in characters if font.get_char_index(ord(c)))
    chosen = []
    left = characters
    while left and found:
        best = max(sorted(found), key=lambda font: len(found[font] & left))
        if not found[best] & left:
            break
        chosen.append((_register(best[1]), found[best] & left))
        left -= found[best]
    return tuple(chosen)


@cache
def _register(file: str) -> str:
    """Make a font known to matplotlib in both weights, whether or not it knows others of its family; returns the family."""
    family = FT2Font(file).family_name
    for weight in (400, 700):
        fontManager.ttflist.append(FontEntry(fname=file, name=family, weight=weight, size="scalable"))
    return family


def lacking(text: str) -> frozenset[str]:
    """Find the visible characters of `text` that no font of this machine has."""
    foreign = _foreign(text)
    return foreign.difference(*(has for _, has in _others(foreign))) if foreign else foreign


def drawable(text: str) -> str:
    """Make one line of what can be drawn: nothing for the invisible, ⟨n⟩ for n characters that no font has."""
    visible, missing = _visible(text), lacking(text)
    if missing:
        visible = re.sub(f"[{re.escape(''.join(missing))}]+", lambda run: f"⟨{len(run[0])}⟩", visible)
    return visible


def font_for(text: str, size: float, bold: bool) -> FontProperties:
    """Choose what draws a drawable `text`: matplotlib's own font, so that a sheet looks the same everywhere, and others behind it."""
    foreign = _foreign(text)
    families = [_OWN, *(family for family, _ in _others(foreign))] if foreign else [_OWN]
    file = None if foreign else _own_file(bold)
    return FontProperties(family=families, weight="bold" if bold else "normal", size=size, fname=file)


def _foreign(text: str) -> frozenset[str]:
    """The visible characters that matplotlib's own font lacks."""
    return frozenset(c for c in _visible(text) if ord(c) not in _own_characters())


def _visible(text: str) -> str:
    return "".join(c for c in one_line(text) if unicodedata.category(c) != "Cf" and c != "\ufe0f")
