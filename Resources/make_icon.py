"""Draws the module's icon (128 pixels) and the extension's (256): one body, speckled on the left, smooth on the right.

python Resources/make_icon.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
SIZE, FINE = 256, 1024  # the drawing is made large and scaled down, for smooth edges
GROUND, EDGE = (250, 250, 250), (92, 104, 122)
# centre x, y, radius, uptake: brain, heart, liver, bladder
HOT = ((0.50, 0.15, 0.055, 0.95), (0.55, 0.47, 0.055, 0.75), (0.41, 0.58, 0.10, 0.5), (0.50, 0.84, 0.05, 0.95))


def uptake() -> np.ndarray:
    """A torso with head, in units of the scale's end: where it is warm, where it is hot; [y, x] in 0 to 1."""
    y, x = np.mgrid[:FINE, :FINE] / FINE
    head = ((x - 0.5) / 0.11) ** 2 + ((y - 0.19) / 0.11) ** 2 < 1
    body = (np.abs((x - 0.5) / 0.25) ** 3 + np.abs((y - 0.64) / 0.30) ** 3) < 1
    neck = (np.abs(x - 0.5) < 0.06) & (y > 0.2) & (y < 0.45)
    image = np.where(head | body | neck, 0.28, 0.0)
    for centre, height, radius, value in HOT:
        distance = ((x - centre) ** 2 + (y - height) ** 2) / radius**2
        image = np.maximum(image, value * np.exp(-0.7 * distance**2) * (image > 0))
    return image


def noisy(image: np.ndarray) -> np.ndarray:
    """Speckle whose strength falls from the left edge to none at the right."""
    cells = 64
    speckle = np.random.default_rng(4).normal(size=(cells, cells)).repeat(FINE // cells, 0).repeat(FINE // cells, 1)
    strength = np.clip(1.15 - 1.6 * np.linspace(0, 1, FINE), 0, 1) * 0.30
    return np.clip(image + speckle * strength * (image > 0), 0, 1)


def draw() -> Image.Image:
    grey = (255 * (1 - noisy(uptake()))).astype(np.uint8)
    picture = Image.new("RGBA", (FINE, FINE), (0, 0, 0, 0))
    mask = Image.new("L", (FINE, FINE), 0)
    ImageDraw.Draw(mask).rounded_rectangle((24, 24, FINE - 24, FINE - 24), 170, fill=255)
    picture.paste(Image.new("RGB", (FINE, FINE), GROUND), mask=mask)
    picture.paste(Image.merge("RGB", [Image.fromarray(grey)] * 3), mask=mask)
    lines = ImageDraw.Draw(picture)
    lines.rounded_rectangle((24, 24, FINE - 24, FINE - 24), 170, outline=EDGE, width=26)
    return picture


def main() -> None:
    picture = draw()
    for size, name in ((128, "MAPDiff/Resources/Icons/MAPDiff.png"), (256, "Resources/MAPDiff.png")):
        picture.resize((size, size), Image.Resampling.LANCZOS).save(ROOT / name, optimize=True)


if __name__ == "__main__":
    main()
