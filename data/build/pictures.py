"""Draw the README's sheet of pictures: three made photographs, and a real one of Pose2Sim's trial, with the poses seen in them.

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
from minirft.vision import BlazePose

body, blazepose, policy = load_body(), BlazePose(), PosePolicy.from_pretrained(sys.argv[1])
poses = PosePrior.load().sample(3, generator=torch.Generator().manual_seed(4))
album = photograph(body, poses, blazepose, np.random.default_rng(4), size=384)
frames = [image for image, _ in photographs.photographs(every=60)]
middle = frames[0].crop((frames[0].width // 2 - 400, 0, frames[0].width // 2 + 400, frames[0].height))
figure = Figure((12.2, 6.2), dpi=128, facecolor="white")
for place, image in enumerate([album.image(0), album.image(1), album.image(2), middle]):
    person = blazepose(image)[0]
    pose = pose_person(policy, image, person, body=body)[0][0, 0]
    scale, shift = camera(landmarks(body, pose), person)
    skin = body.vertices(pose)
    drawn = draw_over(np.asarray(image), skin, body.faces, scale=scale.item(), shift=shift[0])
    aside = mesh_image(skin * torch.tensor([1.0, -1, -1]), body.faces, size=384, view=-90, elevation=0.0)
    for column, picture in enumerate((np.asarray(image), drawn, aside)):
        axes = figure.add_subplot(2, 6, place % 2 * 3 + place // 2 * 6 + column + 1)
        axes.imshow(picture)
        axes.set_axis_off()
figure.subplots_adjust(0, 0, 1, 1, 0.03, 0.03)
figure.savefig(sys.argv[2])
