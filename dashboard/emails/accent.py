"""Turn a tenant's accent hue into colours that mail readers know: they take #rrggbb, and nothing of OKLCH."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

LIGHT_L, DARK_L, CHROMA = 0.5, 0.8, 0.17
"""Lightness on white and on near-black: text and buttons keep a contrast of 4.5 (WCAG 1.4.3) at every hue."""

CHROMA_STEP = 0.005


@dataclass(frozen=True, slots=True)
class Accent:
    """An accent for mails in light readers, and one for dark readers."""

    light: str
    dark: str


@lru_cache(maxsize=361)
def accent_of(hue: int) -> Accent:
    """Return the accent of `hue` (0 to 360 degrees of OKLCH)."""
    return Accent(light=_hex(LIGHT_L, hue), dark=_hex(DARK_L, hue))


def _hex(lightness: float, hue: int) -> str:
    """The most colourful one of this lightness and hue that a screen can show."""
    chroma = CHROMA
    while chroma > 0 and not all(-1e-4 <= value <= 1.0001 for value in _linear_rgb(lightness, chroma, hue)):
        chroma -= CHROMA_STEP
    return "#" + "".join(f"{_byte(value):02x}" for value in _linear_rgb(lightness, max(chroma, 0.0), hue))


def _linear_rgb(lightness: float, chroma: float, hue: int) -> tuple[float, float, float]:
    """OKLCH to linear sRGB, by the matrices of https://www.w3.org/TR/css-color-4/#color-conversion-code."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )


def _byte(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
