"""The README's first picture, and the demo's sheet made smaller: six of its sentences, above a made photograph and the real one of pictures.py.

    minirft demo --out demo && python data/build/front.py demo/poses.png data/results/pictures.png data/results
"""

import sys
from pathlib import Path

from PIL import Image

from minirft.render import GAP, LINE, PICTURE

SENTENCES = 2, 8, 21, 16, 24, 26  # places in data/prompts.txt, which stand two in a row on the sheet
WIDTH = 1264  # pixels

sheet, seen, out = Image.open(sys.argv[1]).convert("RGB"), Image.open(sys.argv[2]).convert("RGB"), Path(sys.argv[3])
sheet = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS)
dot = WIDTH / (2 * 4 * PICTURE + 3 * GAP)  # pixels an inch: four pictures a sentence
high, pitch, half = round(dot * (PICTURE + 1.9 * LINE)), dot * (PICTURE + 2 * LINE + GAP), WIDTH // 2
wide, tall = seen.width // 2, seen.height // 2
front = Image.new("RGB", (WIDTH, 3 * high + tall + 12), "white")
for place, index in enumerate(SENTENCES):
    left, top = round(dot * (index % 2) * (4 * PICTURE + GAP)), round(dot * (GAP + 2 * LINE) + index // 2 * pitch)
    front.paste(sheet.crop((left, top, left + half, top + high)), (place % 2 * half, place // 2 * high))
for place, (column, row) in enumerate([(1, 0), (1, 1)]):  # of pictures.py's four
    part = seen.crop((column * wide, row * tall, (column + 1) * wide, (row + 1) * tall))
    front.paste(part, (place * half + round(dot * GAP), 3 * high + 6))
for picture, name in ((sheet, "demo.png"), (front, "front.png")):
    picture.quantize(256).save(out / name, optimize=True)
