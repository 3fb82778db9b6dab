"""Click on a picture, then click again where the mask is wrong; then everything in it without a click.

python examples/segment_picture.py picture.jpg
"""

import sys

import keepsight.tracker as ks

tracker = ks.load("nano")
image = tracker.image(sys.argv[1])  # encoded once

first = image.predict(points=[(0.5, 0.5)])
better = image.predict(points=[(0.5, 0.5), (0.1, 0.1)], labels=[1, 0], mask=first.low_res_logits[0])
print(f"clicked: {first.masks[0].mean():.1%} of the picture, then {better.masks[0].mean():.1%}")

for segment in ks.everything(image):
    print(f"{segment.object_id}: {segment.area} pixels, predicted IoU {segment.iou:.2f}, {segment.box}")
