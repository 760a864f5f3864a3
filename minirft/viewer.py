"""A pose that the reader can turn: a body in 3D where a notebook is run, a picture of it where notebooks are only displayed.

JupyterLab draws the first by plotly's own extension, without a network; GitHub and nbconvert know the second alone.
"""

import base64
import functools
import heapq
import io

import numpy as np
import torch

from .render import pose_sheet

PLOTLY = "application/vnd.plotly.v1+json"
VERTICES = 1200  # of the body's 6,000: in the notebook a pose takes 30 kB, and each further step of a slider 10 kB
AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
LOOK = {"type": "mesh3d", "color": "rgb(150,180,215)", "hoverinfo": "skip", "lightposition": {"x": -4000, "y": -6000, "z": 9000},
        "lighting": {"ambient": 0.4, "diffuse": 0.9, "specular": 0.1, "roughness": 0.8}}


class Turntable:
    """A body to turn with the mouse; over several poses, a slider to drag. Put last in a cell, the notebook shows it.

    poses: (P, 24, 3, 3), Y up, none with NaN. titles: P texts, short ones if P > 1: they stand under the slider.
    """

    def __init__(self, body, poses, titles):
        if len(poses) != len(titles) or not len(titles) or not torch.isfinite(poses).all():
            raise ValueError(f"{len(titles)} titles for {len(poses)} poses; give each pose, at least one and none with NaN, its title")
        kept, faces = _fewer_vertices(body)
        x, y, z = (body.vertices(poses).numpy()[:, kept] * 1000).round().transpose(2, 0, 1)  # millimetres, (P, V)
        skins = [{"x": _pack(a), "y": _pack(-c), "z": _pack(b - b.min())} for a, b, c in zip(x, y, z)]  # plotly's Z is up
        middle = float((y - y.min(1, keepdims=True)).max() / 2)
        reach = float(max(middle, abs(x).max(), abs(z).max()) + 30)
        scene = {f"{axis}axis": {"visible": False, "range": [m - reach, m + reach]} for axis, m in zip("xyz", (0, 0, middle))}
        scene |= {"aspectmode": "cube", "dragmode": "turntable", "camera": {"eye": {"x": 0.33, "y": -1.25, "z": 0.28}}}
        steps = [{"method": "animate", "label": title, "args": [[str(i)], AT_ONCE]} for i, title in enumerate(titles)]
        slider = {"steps": steps, "x": 0.06, "len": 0.88, "currentvalue": {"visible": False}, "pad": {"t": 5, "b": 30}}
        layout = {"width": 480, "height": 560, "margin": dict.fromkeys("lrb", 0) | {"t": 40}, "scene": scene,
                  "sliders": [slider] if len(poses) > 1 else [], "title": {"text": titles[0], "x": 0.02, "font": {"size": 14}}}
        frames = [{"name": str(i), "traces": [0], "data": [{"type": "mesh3d"} | skin], "layout": {"title": {"text": title}}}
                  for i, (skin, title) in enumerate(zip(skins, titles)) if len(poses) > 1]
        figure = {"data": [LOOK | skins[0] | dict(zip("ijk", map(_pack, faces.T)))], "layout": layout, "frames": frames,
                  "config": {"displayModeBar": False}}
        few = sorted({round(i) for i in np.linspace(0, len(poses) - 1, 5)})  # of a slider's poses, five are on the picture
        views = ("front", "side", "back")[: 3 if len(few) == 1 else 1]
        sheet = pose_sheet(body, poses[few], [titles[i] for i in few], columns=len(few), views=views)
        sheet.savefig(file := io.BytesIO(), format="jpeg", dpi=100, pil_kwargs={"quality": 80})
        self.shown = {PLOTLY: figure, "image/jpeg": file.getvalue(), "text/plain": "a body to turn"}

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.shown


@functools.cache
def _fewer_vertices(body):
    """Which of the body's vertices are kept, and the faces (F, 3) between these: its shortest edges, at rest, are collapsed."""
    skin, faces = body.vertices(torch.eye(3).expand(24, 3, 3)).numpy(), body.faces.numpy()
    into, left, near = np.arange(len(skin)), len(skin), [set() for _ in skin]
    for a, b in np.concatenate([faces, np.roll(faces, 1, 1)])[:, :2].tolist() + faces[:, 1:].tolist():
        near[a].add(b), near[b].add(a)
    edges = sorted((np.linalg.norm(skin[a] - skin[b]), a, b) for a in range(len(skin)) for b in near[a] if a < b)  # a heap
    while left > VERTICES and edges:
        _, a, b = heapq.heappop(edges)
        if b in near[a] and len(near[a] & near[b]) == 2:  # else it is gone, or the surface would be pinched
            into[b], left = a, left - 1
            for c in near[b] - near[a] - {a}:
                near[a].add(c), near[c].add(a), heapq.heappush(edges, (np.linalg.norm(skin[a] - skin[c]), a, c))
            while near[b]:
                near[near[b].pop()].remove(b)
    while (into != into[into]).any():
        into = into[into]
    faces = into[faces]
    kept, faces = np.unique(faces[(faces != np.roll(faces, 1, 1)).all(1)], return_inverse=True)
    return kept, faces.reshape(-1, 3)


def _pack(numbers):
    """Whole numbers as plotly's typed array, one line of the notebook's file where a list would take a line for each number."""
    return {"dtype": "i2", "bdata": base64.b64encode(numbers.astype("<i2").tobytes()).decode()}
