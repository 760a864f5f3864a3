"""A body as pixels, as a sheet of pictures, as a stick figure and as a mesh file; on the CPU, without OpenGL."""

import textwrap
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import avg_pool2d, grid_sample, pad

from .body import JOINT_NAMES, PARENTS
from .errors import InputError
from .files import write_atomic

VIEWS = {"front": 0.0, "front right": -35.0, "side": -90.0, "back": 180.0}  # azimuth in degrees; from the side the body faces right
FRAME = 2.3  # metres across every picture, so that bodies and poses compare; only a longer pose is drawn smaller
GROUND = 0.11  # share of the picture below the point on the ground under the body
SLATE, PAPER = np.array([[0.53, 0.68, 0.86], [0.957, 0.949, 0.937]], np.float32)  # skin and background
KEY_LIGHT, SKY = np.array([-0.45, 0.65, 0.62]), np.array([0.0, 1.0, 0.0])  # camera frame; world frame
SAMPLING = 2  # each pixel is the mean of 2 x 2
PICTURE, LINE, GAP = 2.0, 24 / 128, 20 / 128  # inches on a sheet, 128 dots each: a picture, a line of text, a space
INK = "#26303c"
SHEET_LIMIT = 120  # sentences on one sheet: more make a picture that few programs open


def mesh_image(vertices, faces, *, size=256, view="front", elevation=12.0):
    """Draw one body standing on the ground, softly lit, through a parallel camera.

    vertices: (V, 3) metres, Y up. faces: (F, 3), counter-clockwise from outside. size: pixels a side.
    view: a name in VIEWS or an azimuth in degrees (0 sees the front, 90 the body's left). elevation: degrees.
    The lowest vertex stands on the ground. Returns (size, size, 3) uint8.
    """
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    side = size * SAMPLING
    if isinstance(view, str) and view not in VIEWS:
        raise ValueError(f"view='{view}' is unknown; give one of {', '.join(VIEWS)} or an azimuth in degrees")
    camera = camera_axes(VIEWS.get(view, view), elevation)
    low, high = vertices.min(0), vertices.max(0)
    foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    points = (vertices - foot) @ camera.T  # right, up, towards the camera
    pixel = max(FRAME, 2.06 * np.abs(points[:, 0]).max(), 1.03 * points[:, 1].max() / (1 - GROUND)) / side
    origin = np.array([side / 2, side * (1 - GROUND)], np.float32)
    screen = points * np.array([1, -1, 1], np.float32) / pixel
    screen[:, :2] += origin

    ground = _ground(vertices - foot, camera, pixel * SAMPLING, origin / SAMPLING, size)  # (size, size, 3)
    picture = ground.repeat(SAMPLING, 0).repeat(SAMPLING, 1).reshape(-1, 3)
    pixels, face, weights = rasterise(screen, faces, side)
    normals = np.einsum("pc,pcx->px", weights, vertex_normals(vertices, faces)[faces[face]])
    depth = np.einsum("pc,pc->p", weights, screen[faces[face], 2]) * pixel
    picture[pixels] = _shade(normals, camera, _hollow(pixels, depth, side))
    picture = picture.reshape(side, side, 3)
    picture = sum(picture[i::SAMPLING, j::SAMPLING] for i in range(SAMPLING) for j in range(SAMPLING)) / SAMPLING**2
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def draw_over(photo, vertices, faces, *, scale, shift):
    """Draw a body over a photograph, through a camera of weak perspective: pixel = scale * (x, y) + shift.

    photo: (H, W, 3) uint8. vertices: (V, 3) metres in the camera frame, x right, y down, z away. Returns (H, W, 3) uint8.
    """
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    height, width = photo.shape[:2]
    side = max(height, width)
    upright = vertices * np.array([1, -1, -1], np.float32)
    screen = np.concatenate([vertices[:, :2] * scale + np.asarray(shift), -scale * vertices[:, 2:]], 1).astype(np.float32)
    pixels, face, weights = rasterise(screen, faces, side)
    inside = (pixels // side < height) & (pixels % side < width)
    pixels, face, weights = pixels[inside], face[inside], weights[inside]
    normals = np.einsum("pc,pcx->px", weights, vertex_normals(upright, faces)[faces[face]])
    picture = photo.astype(np.float32) / 255
    lit = _shade(normals, np.eye(3, dtype=np.float32), np.ones(len(pixels), np.float32))
    picture[pixels // side, pixels % side] = 0.15 * picture[pixels // side, pixels % side] + 0.85 * lit
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def photo_sheet(photo, drawn, bodies, faces, title, *, path=None):
    """A row for each pose: the photograph, the body drawn over it, and alone, as the camera sees it and from its left.

    photo: (H, W, 3) uint8; drawn: N such, draw_over's; bodies: (N, V, 3) metres in the camera frame, NaN where the answer holds
    no pose. path: where to save it as PNG. Returns the matplotlib Figure.
    """
    high = 3.0  # inches
    across = min(high * photo.shape[1] / photo.shape[0], 2 * high)
    widths = [across, across, high, high]
    lines = textwrap.wrap(title, int(sum(widths) * 12.5)) or [""]
    height = len(drawn) * (high + GAP) + GAP + LINE * (len(lines) + 1)
    pictures = []
    for row, (picture, body) in enumerate(zip(drawn, np.asarray(bodies))):
        shown, upright = [photo, picture], body * np.array([1, -1, -1], np.float32)
        if np.isfinite(body).all():
            shown += [mesh_image(upright, faces, size=384, view=view, elevation=0.0) for view in ("front", "side")]
        left, bottom = GAP, height - LINE * (len(lines) + 1) - (row + 1) * (high + GAP) + GAP / 2
        for width, image in zip(widths, shown):
            pictures.append((image, (left, bottom, width, high)))
            left += width + GAP
    words = [(GAP, height - 0.12, "\n".join(lines), {"fontsize": 9.5, "va": "top", "color": INK})]
    return _sheet((sum(widths) + GAP * (len(widths) + 1), height), pictures, words, path)


def pose_sheet(body, poses, titles, *, path=None, columns=None, views=("front", "side"), legend=""):
    """A contact sheet: under each sentence its poses as pictures, each seen from `views`.

    poses: (P, 24, 3, 3), or (P, N, 24, 3, 3) for N poses a sentence; one that holds NaN is an empty picture saying so.
    titles: P sentences. columns: sentences side by side, None for about eight pictures in a row. legend: a line above all.
    path: where to save it as PNG. Returns the matplotlib Figure. Raises InputError if `path` cannot be written.
    """
    poses = torch.as_tensor(poses).detach().float().cpu()
    poses = poses[:, None] if poses.dim() == 4 else poses  # (P, N, 24, 3, 3)
    if len(poses) != len(titles) or not len(titles):
        raise ValueError(f"{len(titles)} titles for {len(poses)} poses; give each pose, at least one, its title")
    shown = min(len(titles), SHEET_LIMIT)
    across = poses.shape[1] * len(views) * PICTURE
    columns = min(columns or max(1, round(8 * PICTURE / across)), shown)
    texts = [textwrap.wrap(title, max(20, int(across * 12.5))) or [""] for title in titles[:shown]]
    rows = [slice(start, min(start + columns, shown)) for start in range(0, shown, columns)]
    heights = [PICTURE + LINE * (max(map(len, texts[row])) + 1) for row in rows]
    width, height = columns * (across + GAP) + GAP, sum(heights) + len(rows) * GAP + 2 * LINE
    pictures, words, top = [], [], height - GAP
    if legend:
        height += 2 * LINE
        words.append((GAP, height - 1.5 * LINE, legend, {"fontsize": 9.5, "color": INK}))
    for row, row_height in zip(rows, heights):
        for column, index in enumerate(range(shown)[row]):
            left, bottom = GAP + column * (across + GAP), top - row_height
            pictures.append((_strip(body, poses[index], views), (left, bottom, across, PICTURE)))
            words.append((left, bottom + PICTURE + 0.07, "\n".join(texts[index]),
                          {"fontsize": 9.5, "va": "bottom", "color": INK, "linespacing": 1.25}))
        top -= row_height + GAP
    note = f"Seen from: {', '.join(map(str, views))}. From the front, the body's left is on your right. Body: {body.name}."
    note += f" The first {shown} of {len(titles)}." if shown < len(titles) else ""
    words.append((GAP, 0.1, textwrap.fill(note, int(width * 14)), {"fontsize": 8, "color": "0.45"}))
    return _sheet((width, height), pictures, words, path)


def _sheet(size, pictures, words, path):
    """A page as a Figure, saved if there is a path. All in inches from the lower left: pictures: [(image, (left, bottom, width,
    height)), ...]; words: [(left, bottom, text, matplotlib's options), ...]."""
    from matplotlib.figure import Figure  # slow to import, and not needed to draw one body

    figure, (width, height) = Figure(size, dpi=128, facecolor="white"), size
    for image, (left, bottom, across, high) in pictures:
        axes = figure.add_axes([left / width, bottom / height, across / width, high / height])
        axes.imshow(image)
        axes.set_axis_off()
    for left, bottom, text, options in words:
        figure.text(left / width, bottom / height, text, parse_math=False, **options)
    if path is not None:
        with write_atomic(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a sentence may hold letters the font does not
            figure.savefig(temporary, format="png")
    return figure


def _strip(body, poses, views):
    """One picture of all views of all poses (N, 24, 3, 3), side by side: (256, N * views * 256, 3) uint8."""
    pictures = []
    for pose in poses:
        if torch.isfinite(pose).all():
            vertices = body.vertices(pose).numpy()
            pictures += [mesh_image(vertices, body.faces.numpy(), view=view) for view in views]
        else:
            image = Image.fromarray((_paper(256, 256 * len(views)) * 255).astype(np.uint8))
            middle = image.width / 2, image.height / 2
            ImageDraw.Draw(image).text(middle, "no pose in the answer", fill=(130, 130, 130), anchor="mm", font_size=15)
            pictures.append(np.asarray(image))
    return np.concatenate(pictures, 1)


def skeleton_axes(joints, axes):
    """Draw joints (24, 3), metres, as a stick figure on matplotlib 3D axes: the body's left blue, its right orange."""
    x, y, z = np.asarray(joints).T
    x, y, z = x, -z, y - y.min()  # matplotlib's third axis is up; the body faces the reader
    for joint, parent in enumerate(PARENTS[1:], start=1):
        side = JOINT_NAMES[joint].split("_")[0]
        axes.plot(*([values[parent], values[joint]] for values in (x, y, z)), lw=3, solid_capstyle="round",
                  color={"left": "tab:blue", "right": "tab:orange"}.get(side, "0.35"), clip_on=False)
    axes.scatter(x, y, z, s=8, color="0.2", depthshade=False, clip_on=False)
    middle = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
    axes.set(xlim=(middle[0] - 1, middle[0] + 1), ylim=(middle[1] - 1, middle[1] + 1), zlim=(0, 2))
    axes.set_box_aspect((1, 1, 1), zoom=1.5)
    axes.view_init(elev=10, azim=-75)
    axes.set_axis_off()


def write_mesh(path, vertices, faces):
    """Write vertices (V, 3) metres and faces (F, 3) as .obj or .glb. Raises InputError for other files or places."""
    import trimesh

    path = Path(path)
    if path.suffix not in (".obj", ".glb"):
        raise InputError(f"{path}: cannot write '{path.suffix}' meshes; end the name in .obj or .glb")
    mesh = trimesh.Trimesh(np.asarray(vertices), np.asarray(faces), process=False)  # keeps the order of vertices
    with write_atomic(path) as temporary:
        mesh.export(temporary)


def camera_axes(azimuth, elevation):
    """The camera's right, up and backward axes as the rows of a (3, 3) matrix; both angles in degrees."""
    a, e = np.radians([azimuth, elevation])
    right = [np.cos(a), 0, -np.sin(a)]
    back = [np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)]
    return np.array([right, np.cross(back, right), back], np.float32)


def rasterise(screen, faces, side):
    """Which face is seen through each pixel, and where on it.

    screen: (V, 3) x right and y down in pixels, z towards the camera. side: pixels a side.
    Returns pixels (P,) flat indices of those covered, face (P,) and barycentric weights (P, 3).
    Every pixel of every face's bounding box is tried at once: a body's faces are a few pixels wide.
    """
    corners = screen[faces]  # (F, 3, 3)
    a, b, c = corners[:, 0, :2], corners[:, 1, :2], corners[:, 2, :2]
    first, second = b - a, c - a
    area = second[:, 0] * first[:, 1] - second[:, 1] * first[:, 0]  # y points down: positive faces the camera
    low = np.ceil(corners[..., :2].min(1) - 0.5).clip(0, side).astype(np.int64)
    high = np.floor(corners[..., :2].max(1) + 0.5).clip(0, side).astype(np.int64)
    extent = (high - low).clip(0)
    shown = np.flatnonzero((area > 1e-6) & (extent[:, 0] * extent[:, 1] > 0))
    count = extent[shown, 0] * extent[shown, 1]
    box = np.repeat(np.arange(len(shown)), count)  # candidate pixel -> face shown
    step = np.arange(len(box)) - np.repeat(count.cumsum() - count, count)
    face = shown[box]
    width = extent[face, 0]
    x, y = low[face, 0] + step % width, low[face, 1] + step // width
    dx, dy = x + 0.5 - a[face, 0], y + 0.5 - a[face, 1]
    v = (second[face, 0] * dy - second[face, 1] * dx) / area[face]
    w = (dx * first[face, 1] - dy * first[face, 0]) / area[face]
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    face, v, w, pixel = face[inside], v[inside], w[inside], (y * side + x)[inside]
    z = corners[face, :, 2]
    near = z[:, 0] + v * (z[:, 1] - z[:, 0]) + w * (z[:, 2] - z[:, 0])
    nearest = np.full(side * side, -np.inf, near.dtype)
    np.maximum.at(nearest, pixel, near)
    seen = np.flatnonzero(near == nearest[pixel])
    seen = seen[np.unique(pixel[seen], return_index=True)[1]]  # two faces may share an edge there
    return pixel[seen], face[seen], np.stack([1 - v - w, v, w], 1)[seen].astype(np.float32)


def vertex_normals(vertices, faces):
    """Unit normals (V, 3): the mean of the faces around each vertex, by area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    summed = np.stack([np.bincount(faces.ravel(), normals[:, i], len(vertices)) for i in range(3)], 1)
    return (summed / np.linalg.norm(summed, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)


def _shade(normals, camera, hollow):
    """Colours (P, 3) of a matt skin under a soft key light, the sky and a little light from the rim."""
    normals = normals / np.sqrt(np.einsum("px,px->p", normals, normals)).clip(1e-6)[:, None]
    towards = (KEY_LIGHT @ camera / np.linalg.norm(KEY_LIGHT)).astype(np.float32)
    key = (normals @ towards * 0.5 + 0.5) ** 1.6  # wraps round the body, as light from a large window does
    sky = normals @ SKY.astype(np.float32) * 0.5 + 0.5
    rim = (1 - (normals @ camera[2]).clip(0, 1)) ** 3
    warm, cool = np.array([[0.74, 0.68, 0.60], [0.18, 0.21, 0.26]], np.float32)
    light = key[:, None] * warm + sky[:, None] * cool + 0.28
    return light * hollow[:, None] * SLATE + 0.16 * rim[:, None]


def _hollow(pixels, depth, side):
    """How open each covered pixel (P,) lies, 0.5 to 1: less where its surroundings stand nearer to the camera.

    pixels: flat indices; depth: (P,) metres towards the camera. Source: depth unsharp masking, Luft et al. 2006.
    """
    half = (side + 1) // 2  # half the resolution will do for something blurred
    at = pixels // side // 2 * half + pixels % side // 2
    covered, height = np.zeros((2, half * half), np.float32)
    covered[at], height[at] = 1, depth
    radius = max(1, half // 40)
    covered, height = (_blur(image.reshape(half, half), radius).ravel() for image in (covered, height))
    around = height[at] / covered[at]
    return 1 - ((around - depth).clip(0, 0.12) / 0.12) * 0.5


def _paper(height, width):
    """An empty picture (height, width, 3), a little lighter above."""
    light = np.linspace(1.02, 0.97, height, dtype=np.float32)[:, None, None]
    return np.broadcast_to(PAPER * light, (height, width, 3))


def _ground(points, camera, pixel, origin, side):
    """Paper (side, side, 3) with the body's soft shadow on the ground, darkest where the body touches it.

    points: (V, 3) metres from the point on the ground under the body.
    """
    picture = _paper(side, side)
    if camera[2, 1] < 0.02:  # seen from the side, the ground is a line
        return picture
    step, reach = FRAME / 96, 1.5 * FRAME  # the ground as a map of cells seen from above
    cells = int(2 * reach / step)
    column, row = (((points[:, i] + reach) / step).astype(int).clip(0, cells - 1) for i in (0, 2))
    weight = np.exp(-points[:, 1] / 0.18)
    dark = _blur(np.bincount(row * cells + column, weight, cells * cells).reshape(cells, cells).astype(np.float32), 3)
    dark = 1 - np.exp(-dark * 0.22)
    # Parallel rays: the point on the ground (y = 0) under each pixel.
    right = (np.arange(side) + 0.5 - origin[0]) * pixel
    back = (np.arange(side) + 0.5 - origin[1]) * pixel / camera[2, 1]
    ahead = np.array([camera[2, 0], camera[2, 2]]) / np.hypot(camera[2, 0], camera[2, 2])
    x = right[None] * camera[0, 0] + back[:, None] * ahead[0]
    z = right[None] * camera[0, 2] + back[:, None] * ahead[1]
    places = torch.from_numpy(np.stack([x, z], -1).astype(np.float32)) / reach  # the map's border is at -1 and 1
    shadow = grid_sample(torch.from_numpy(dark)[None, None], places[None], padding_mode="border", align_corners=False)[0, 0]
    return picture * (1 - 0.5 * shadow.numpy()[..., None])


def _blur(image, radius):
    """Nearly Gaussian blur of a 2D image, float32: two box means of `radius` along each side."""
    image = torch.from_numpy(image)[None]
    for _ in range(2):
        for size, padding in (((2 * radius + 1, 1), (0, 0, radius, radius)), ((1, 2 * radius + 1), (radius, radius, 0, 0))):
            image = avg_pool2d(pad(image, padding, mode="replicate"), size, stride=1)
    return image[0].numpy()
