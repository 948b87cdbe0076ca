# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from flare_mri.errors import InputError
from flare_mri.metrics.slice_dice import slice_dice
from flare_mri.report import figures, images
from flare_mri.report.figures import DARK_CARD, LIGHT_CARD, inline_svg
from flare_mri.report.images import overlay_panel

CURVES = {"A": ([0, 1, 2], [20.0, 22.0, 23.0]), "B <&>": ([0, 1], [19.0, 24.0])}
STYLES = {name: figures.style(index) for index, name in enumerate(CURVES)}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("card", [LIGHT_CARD, DARK_CARD])
@pytest.mark.parametrize("colour", figures.COLOURS)
def test_lines_have_contrast_on_both_themes(colour, card):
    darker, lighter = sorted((luminance(colour), luminance(card)))
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_sixteen_styles_differ():
    assert len({figures.style(index) for index in range(16)}) == 16


def test_charts_are_svg_that_repeats_and_needs_nothing():
    one, two = (figures.curve_chart(CURVES, STYLES, "PSNR (dB)", 18.0) for _ in range(2))
    assert one == two
    root = ElementTree.fromstring(one)
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "PSNR (dB)" in words and "Round" in words and "zero-filled" in words


def test_inlined_charts_take_the_page_ink_and_have_no_addresses():
    charts = [figures.curve_chart(CURVES, STYLES, "PSNR (dB)", None), figures.colour_bar(20.0)]
    texts = [inline_svg(svg, f'a "label" <{number}>') for number, svg in enumerate([*charts, charts[0]])]
    for number, text in enumerate(texts):
        assert "http" not in text and figures.INK not in text and "currentColor" in text
        assert f'aria-label="a &quot;label&quot; &lt;{number}&gt;"' in text
        assert "DejaVu" not in text and "<style" not in text
        ElementTree.fromstring(text.replace("xlink:href", "href"))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert used == set(re.findall(r'\sid="([^"]+)"', text))
    ids = [set(re.findall(r'\sid="([^"]+)"', text)) for text in texts]
    assert ids[0] and not ids[0] & ids[2] and not ids[0] & ids[1]


def test_image_panel_keeps_pixels():
    image = np.linspace(0, 10, 30).reshape(5, 6)
    np.testing.assert_allclose(pixels(images.image_panel(image, 10))[..., 0], image * 25.5, atol=0.51)


def test_error_panel_follows_the_scale():
    shown = pixels(images.error_panel(np.array([[0.0, 5.0, 10.0, 40.0]]), 10.0))[0]
    colours = matplotlib.colormaps[images.ERROR_MAP](np.array([0, 128, 255, 255]))[:, :3] * 255
    np.testing.assert_allclose(shown, colours, atol=1)


def test_errors_are_percent_of_the_brightest_target_value():
    target = np.array([[0.0, 50.0]])
    np.testing.assert_allclose(images.error_percent(target + [[1.0, -2.0]], target), [[2.0, 4.0]])
    assert np.isfinite(images.error_percent(target, 0 * target)).all()


@pytest.mark.parametrize(("largest", "limit"), [(0.3, 1), (4.9, 5), (5.1, 10), (70, 100)])
def test_the_common_scale_ends_at_a_round_number(largest, limit):
    assert images.error_limit([np.full((4, 4), 0.1), np.full((4, 4), largest)]) == limit


def test_overlay_draws_both_outlines_also_at_the_border():
    image, truth, prediction = np.zeros((20, 30)), np.zeros((20, 30)), np.zeros((20, 30))
    truth[:8, :8] = 1
    prediction[10:16, 20:26] = 2
    shown = pixels(images.overlay_panel(image, truth, prediction, width=300))
    assert shown.shape == (200, 300, 3)
    yellow = (shown[..., 0] > 200) & (shown[..., 2] < 80)
    blue = (shown[..., 2] > 200) & (shown[..., 0] < 90)
    assert yellow[:85, :85].sum() > 150 and not yellow[95:].any() and not yellow[:, 95:].any()
    assert blue[95:165, 195:265].sum() > 150 and not blue[:90].any()


def test_slice_dice_against_the_formula():
    truth, prediction = np.array([[1, 1, 2, 0]]), np.array([[1, 0, 2, 2]])
    assert slice_dice(prediction, truth) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert slice_dice(0 * truth, 0 * truth) is None and slice_dice(0 * truth, truth) == 0


def test_tsne_keeps_islands_apart_and_repeats():
    rng = np.random.default_rng(0)
    features = {f"site-{k}": rng.normal(size=(20, 5)) + 50 * k for k in range(2)}
    points = figures.embed(features, seed=3, limit=15)
    assert {site: found.shape for site, found in points.items()} == {"site-0": (15, 2), "site-1": (15, 2)}
    centres = [found.mean(axis=0) for found in points.values()]
    spread = max(np.linalg.norm(found - found.mean(axis=0), axis=1).max() for found in points.values())
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    again = figures.embed(features, seed=3, limit=15)
    np.testing.assert_array_equal(points["site-1"], again["site-1"])
    assert b"<svg" in figures.embedding_chart(points, {site: figures.style(0) for site in points})


@pytest.mark.parametrize(
    ("shapes", "words"),
    [([(9, 4), (9, 5)], "site-0 4, site-1 5"), ([(2, 4), (3, 4)], "got 5"), ([(9, 4), (9, 4)], "alike")],
)
def test_features_that_cannot_be_mapped_say_why(shapes, words):
    with pytest.raises(InputError, match=words):
        figures.embed({f"site-{k}": np.ones(shape) for k, shape in enumerate(shapes)})


def test_a_heat_map_shows_every_value():
    svg = figures.heat_map(
        np.array([[0.25, 0.5], [0.75, 1.0]]), ["down", "up"], ["site-1", "global"], "Weight"
    ).decode()
    assert all(f">{text}<" in svg for text in ("0.25", "0.50", "0.75", "1.00", "down", "up", "site-1", "global"))


def test_organs_are_told_apart_without_colours():
    """Of several organs each has its number beside it, so that two of them differ on a picture in grey."""
    image, first = np.zeros((40, 40)), np.zeros((40, 40), int)
    first[10:20, 5:15] = 1
    organs = {"liver": "#ffffff", "spleen": "#ffffff"}
    one, two = (pixels(images.overlay_panel(image, truth, None, organs)) for truth in (first, 2 * first))
    assert np.abs(one - two).max() > 100
    one, two = (pixels(images.overlay_panel(image, 0 * first, marked, organs)) for marked in (first, 2 * first))
    assert np.abs(one - two).max() > 100, "numbered where the network alone marks it"


@pytest.mark.parametrize("rounds, ticks", [([0, 1, 2], [1, 2, 3]), ([4], [5])])
def test_curves_begin_at_the_left_with_their_first_round(monkeypatch, rounds, ticks):
    drawn = []
    monkeypatch.setattr(figures, "write_svg", lambda figure: drawn.append(figure) or b"")
    figures.curve_chart({"A": (rounds, [20.0] * len(rounds))}, STYLES, "PSNR (dB)", None)
    (axes,) = drawn[0].axes
    low, high = axes.get_xlim()
    assert ticks[0] - 1 < low < ticks[0] and ticks[-1] < high < ticks[-1] + 1
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == ticks


def test_letters_stand_at_the_borders_of_a_picture():
    def pixels(edges: str) -> np.ndarray:
        content = overlay_panel(np.zeros((30, 20)), np.zeros((30, 20), int), None, edges=edges)
        return np.asarray(Image.open(io.BytesIO(content)).convert("L"))

    bright = np.argwhere(pixels("RLAP") > 200) / pixels("").shape
    assert pixels("").max() == 0 and len(bright) > 100
    places = {(row.round(1), column.round(1)) for row, column in bright}
    assert {(0.5, 0.0), (0.5, 1.0), (0.0, 0.5), (1.0, 0.5)} <= places
    assert np.abs(bright - 0.5).max(1).min() > 0.4, "the middle is free"
