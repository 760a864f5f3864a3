"""The body that a reader turns: what a notebook keeps of it, and a real browser that turns it."""

import base64
import json
import shutil
import time

import numpy as np
import pytest
import torch

from minirft.body import JOINT, load_body
from minirft.prior import PosePrior
from minirft.viewer import PLOTLY, VERTICES, Turntable, _fewer_vertices

COUNT = 7


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def poses():
    return PosePrior.load().sample(COUNT, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def steps(body, poses):
    return Turntable(body, poses, [f"step {i}" for i in range(COUNT)])._repr_mimebundle_()


def unpack(packed):
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])


def test_a_notebook_keeps_a_figure_and_a_picture_and_both_are_small(body, poses, steps):
    one = Turntable(body, poses[:1], ["a pose"])._repr_mimebundle_()
    for bundle in (one, steps):
        assert set(bundle) == {PLOTLY, "image/jpeg", "text/plain"}  # GitHub would rather show text/html than the picture
        assert bundle["image/jpeg"][:2] == b"\xff\xd8" and len(bundle["image/jpeg"]) < 100_000
    sizes = [len(json.dumps(bundle[PLOTLY])) for bundle in (one, steps)]
    assert sizes[0] < 35_000 and sizes[1] < sizes[0] + COUNT * 12_000


def test_the_slider_has_a_step_and_a_frame_for_each_pose(steps):
    figure = steps[PLOTLY]
    (slider,) = figure["layout"]["sliders"]
    names = [frame["name"] for frame in figure["frames"]]
    assert len(slider["steps"]) == len(names) == COUNT
    assert [step["args"][0] for step in slider["steps"]] == [[name] for name in names]
    assert [step["label"] for step in slider["steps"]] == [f"step {i}" for i in range(COUNT)]
    assert figure["frames"][0]["data"][0]["x"] == figure["data"][0]["x"]


def test_plotly_knows_every_part_of_the_figure(steps):
    plotly = pytest.importorskip("plotly.graph_objects")
    plotly.Figure({name: part for name, part in steps[PLOTLY].items() if name != "config"})  # raises at what it does not know


def test_it_shows_the_body_in_millimetres_upright_and_facing_the_reader(body, poses, steps):
    kept, _ = _fewer_vertices(body)
    for pose, frame in zip(poses, steps[PLOTLY]["frames"]):
        x, y, z = (unpack(frame["data"][0][name]) for name in "xyz")
        skin = body.vertices(pose)[kept].numpy() * 1000
        np.testing.assert_allclose(np.stack([x, -y], 1), skin[:, [0, 2]], atol=0.51)
        np.testing.assert_allclose(z, skin[:, 1] - skin[:, 1].min(), atol=1.1)
    assert z.min() == 0


def test_fewer_vertices_are_still_the_same_closed_body(body):
    kept, faces = _fewer_vertices(body)
    skin = body.vertices(torch.eye(3).expand(24, 3, 3))
    assert len(kept) == VERTICES and faces.max() == VERTICES - 1
    assert torch.cdist(skin, skin[kept]).min(1).values.max() < 0.06  # metres
    hand = body.rest[JOINT["left_hand"]]
    assert (skin[kept] - hand).norm(dim=1).min() < 0.05
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).mean() > 0.99  # a face on either side of nearly every edge


def test_a_missing_pose_or_title_is_an_error(body, poses):
    with pytest.raises(ValueError, match="2 titles for 1 poses"):
        Turntable(body, poses[:1], ["one", "two"])
    with pytest.raises(ValueError, match="none with NaN"):
        Turntable(body, torch.full((1, 24, 3, 3), torch.nan), ["nothing"])


@pytest.fixture
def browser(tmp_path):
    """A chromium without a window, driven by selenium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium to drive a browser: pip install selenium")
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(found):
        pytest.skip("no chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in ("headless", "no-sandbox", "disable-gpu", "enable-unsafe-swiftshader", "disable-quic", "no-first-run", "disable-sync",
                 "disable-background-networking", "disable-component-update", "window-size=700,800", f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(found[1]))
    yield driver
    driver.quit()


@pytest.mark.slow
def test_in_a_browser_the_mouse_turns_the_body_and_the_slider_changes_its_pose(browser, steps, tmp_path):
    offline = pytest.importorskip("plotly.offline")
    from selenium.webdriver import ActionChains

    page = tmp_path / "page.html"
    page.write_text(f"<div id=it></div><script>{offline.get_plotlyjs()}</script><script>const f = {json.dumps(steps[PLOTLY])}; "
                    "Plotly.newPlot('it', f).then(() => { window.ready = 1 })</script>", encoding="utf-8")
    browser.get(page.as_uri())
    for _ in range(300):
        if browser.execute_script("return window.ready"):
            break
        time.sleep(0.1)

    def seen():
        time.sleep(1.5)  # it is drawn a little later
        return browser.execute_script("const s = it._fullLayout.scene._scene; return [s.getCamera().eye, Array.from(it._fullData[0].x)]"), \
            browser.find_element("id", "it").screenshot_as_png

    def drag(element, *moves):
        chain = ActionChains(browser).move_to_element(element).click_and_hold()
        for move in moves:
            chain = chain.move_by_offset(*move)
        chain.pause(0.3).release().perform()

    (eye, x), first = seen()
    drag(browser.find_element("css selector", "#it canvas"), (40, 0), (60, 10))
    (turned, same), second = seen()
    assert abs(turned["x"] - eye["x"]) > 0.2 and same == x and second != first
    drag(browser.find_element("css selector", ".slider-grip-rect"), (150, 0), (300, 0))
    (kept, last), third = seen()
    assert last == unpack(steps[PLOTLY]["frames"][-1]["data"][0]["x"]).tolist() != x
    assert kept == pytest.approx(turned, abs=1e-3) and third != second  # the slider leaves the camera where it was
