"""Track one object through a recording and say where it is: `python examples/track_file.py street.mp4`."""

import sys

import keepsight.tracker as ks

tracker = ks.load("nano")
prompt = ks.Prompt(box=(0.1, 0.2, 0.3, 0.6), label="car")

for result in tracker.track(sys.argv[1], prompts=[prompt]):
    for track in result.tracks:
        print(result.frame.index, track.object_id, track.state, f"{track.confidence:.2f}", track.box)
    for event in result.events:
        print(f"frame {event.frame[1]}: {event.kind} {event.label}: {event.reason}")
