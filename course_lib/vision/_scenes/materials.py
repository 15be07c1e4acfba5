"""Asphalt, brick, grass: the colours and the textures of ground, walls and sky."""

from functools import cache

import numpy as np

BITS = 7
TILE = 1 << BITS  # texels after which a texture repeats
_LEVELS = 128  # of brightness, which goes from 0 to 2

MATERIALS = (
    *("asphalt", "gravel", "grass", "paving", "concrete", "kerb", "marking", "metal"),
    *("brick", "plaster", "hedge", "planks", "glass", "lit glass", "frame", "door"),
    *("trim", "sky", "treeline"),
)
INDEX = {name: index for index, name in enumerate(MATERIALS)}
_COLOURS = {  # among which a site chooses
    "asphalt": [(88, 88, 92), (105, 103, 102), (70, 72, 78)],
    "gravel": [(168, 158, 142), (150, 146, 140), (182, 168, 140)],
    "grass": [(98, 116, 72), (112, 122, 82), (86, 104, 70), (138, 132, 94)],
    "paving": [(168, 162, 154), (150, 150, 152), (172, 150, 134), (140, 128, 120)],
    "concrete": [(160, 158, 152), (138, 140, 142)],
    "kerb": [(186, 184, 178)],
    "marking": [(226, 226, 220)],
    "metal": [(120, 124, 130), (164, 168, 172), (84, 108, 120), (128, 70, 60)],
    "brick": [(156, 88, 70), (136, 76, 62), (182, 140, 104), (196, 178, 150)],
    "plaster": [
        *((222, 212, 190), (214, 186, 142), (196, 204, 206), (226, 224, 218)),
        *((176, 190, 170), (206, 160, 136), (150, 158, 168)),
    ],
    "hedge": [(64, 88, 54), (76, 96, 60), (54, 76, 54)],
    "planks": [(140, 104, 72), (118, 94, 76), (164, 142, 112), (96, 98, 96)],
    "glass": [(62, 76, 90), (48, 56, 66), (88, 104, 118)],
    "lit glass": [(70, 74, 80)],
    "frame": [(232, 232, 228), (110, 84, 64), (70, 76, 82)],
    "door": [(120, 44, 40), (48, 76, 60), (58, 66, 92), (126, 92, 62), (210, 208, 202)],
    "trim": [(134, 126, 118), (196, 190, 180), (86, 82, 80)],
    "sky": [(255, 255, 255)],
    "treeline": [(84, 100, 82), (104, 112, 104), (120, 122, 128)],
}  # fmt: skip


def _smooth_noise(rng: np.random.Generator, blur: float, shape: tuple = (TILE, TILE)):
    """Return noise that repeats without a seam, mean 0, deviation 1."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    radius = np.hypot(rows[:, None], columns[None, :])
    noise = np.fft.irfft2(spectrum * np.exp(-((radius * blur * 4) ** 2)), s=shape)
    return (noise - noise.mean()) / noise.std()


def _courses(height: int, length: int, *, joint: float) -> np.ndarray:
    """Return a bond of bricks or slabs: 1 on the face, 1 − joint between them."""
    rows, columns = np.mgrid[:TILE, :TILE]
    shifted = columns + (rows // height % 2) * (length // 2)
    return 1 - joint * ((rows % height == 0) | (shifted % length == 0))


@cache
def textures() -> np.ndarray:
    """Return a row of `Site.shades` for every texel, uint16 [materials, tile, tile].

    One fixed seed: the textures belong to the course, the scenes choose among them.
    """
    rng = np.random.default_rng(2026)
    tiles = np.ones((len(MATERIALS), TILE, TILE))
    fine, medium, coarse = (lambda blur=b: _smooth_noise(rng, blur) for b in (0, 2, 9))
    for name, grain in {
        "asphalt": 0.05 * fine() + 0.04 * coarse(),
        "gravel": 0.11 * fine() + 0.08 * medium() + 0.04 * coarse(),
        "grass": 0.08 * fine() + 0.10 * medium() + 0.08 * coarse(),
        "paving": 0.02 * fine() + 0.04 * coarse(),
        "concrete": 0.02 * fine() + 0.05 * coarse(),
        "kerb": 0.04 * medium(),
        "marking": 0.05 * medium(),
        "brick": 0.04 * fine() + 0.03 * coarse(),
        "plaster": 0.015 * fine() + 0.04 * coarse(),
        "hedge": 0.08 * fine() + 0.20 * medium() + 0.06 * coarse(),
        "planks": 0.04 * coarse(),
        "treeline": 0.06 * medium() + 0.06 * coarse(),
        "sky": 0.05 * _smooth_noise(rng, 12),
    }.items():
        tiles[INDEX[name]] += grain
    rows, columns = np.mgrid[:TILE, :TILE]
    tiles[INDEX["paving"]] *= _courses(8, 8, joint=0.16)
    tiles[INDEX["concrete"]] *= _courses(64, 64, joint=0.2)
    tiles[INDEX["brick"]] *= _courses(4, 8, joint=0.28)
    tiles[INDEX["planks"]] *= 1 - 0.35 * (columns % 4 == 0)
    tiles[INDEX["door"]] *= 1 - 0.15 * (columns % 8 < 2)
    tiles[INDEX["metal"]] *= 1 - 0.25 * (rows % 4 == 0)
    levels = np.clip(np.rint(tiles * _LEVELS / 2), 0, _LEVELS - 1)
    return (levels + np.arange(len(MATERIALS))[:, None, None] * _LEVELS).astype("u2")


def choose_shades(rng: np.random.Generator) -> np.ndarray:
    """Choose the colour of every material; return it in every brightness."""
    choice = rng.random(len(MATERIALS))
    colours = [
        _COLOURS[name][int(share * len(_COLOURS[name]))]
        for name, share in zip(MATERIALS, choice.tolist(), strict=True)
    ]
    colours = np.array(colours) * rng.normal(1, 0.025, (len(MATERIALS), 3))
    light = np.arange(_LEVELS) * 2 / _LEVELS
    shades = np.zeros((len(MATERIALS), _LEVELS, 4), np.uint8)
    shades[..., :3] = np.clip(colours[:, None] * light[:, None], 0, 255)
    return shades.reshape(-1, 4).view(np.uint32).ravel()
