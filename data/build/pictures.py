"""Draw the README's sheet of pictures: three made photographs and a real one, of Pose2Sim's trial (BSD-3), with the poses that are
seen in them: the mean pose, the same refined, and that from the camera's left.

    pip install av && python data/build/pictures.py mini-rft data/results/pictures.png
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "bench"))
import photographs

from minirft.answer import pose_person
from minirft.body import load_body
from minirft.fit import camera, landmarks
from minirft.policy import PosePolicy
from minirft.prior import PosePrior
from minirft.render import draw_over, mesh_image
from minirft.snapshots import photograph
from minirft.vision import BlazePose, crop_person

body, blazepose, policy = load_body(), BlazePose(), PosePolicy.from_pretrained(sys.argv[1])
poses = PosePrior.load().sample(3, generator=torch.Generator().manual_seed(4))
album = photograph(body, poses, blazepose, np.random.default_rng(4), size=384)
real, _ = next(iter(photographs.photographs(every=60)))
figure = Figure((12.2, 6.1), dpi=100, facecolor="white")
for place, image in enumerate([*map(album.image, range(3)), crop_person(real, blazepose(real)[0], 384)]):
    person, pictures = blazepose(image)[0], [np.asarray(image)]
    for fit in (False, True):
        pose = pose_person(policy, image, person, body=body, fit=fit)[0][0, 0]
        scale, shift = camera(landmarks(body, pose), person)
        pictures.append(draw_over(pictures[0], body.vertices(pose), body.faces, scale=scale.item(), shift=shift[0]))
    pictures.append(mesh_image(body.vertices(pose) * torch.tensor([1.0, -1, -1]), body.faces, size=384, view=-90, elevation=0.0))
    for column, picture in enumerate(pictures):
        axes = figure.add_subplot(2, 8, place % 2 * 4 + place // 2 * 8 + column + 1)
        axes.imshow(picture)
        axes.set_axis_off()
figure.subplots_adjust(0, 0, 1, 1, 0.03, 0.0)
figure.set_size_inches(12.2, 3.1)
figure.savefig(sys.argv[2], pil_kwargs={"optimize": True})
