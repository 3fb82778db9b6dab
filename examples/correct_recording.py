"""Track from the middle of a recording in both directions, and mend it where the tracker is least sure."""

import keepsight.tracker as ks


def confidence(result: ks.Result) -> float:
    return result.tracks[0].confidence


with ks.load("nano").offline("test://?frames=60") as recording:
    thing = recording.show(30, ks.Prompt(box=(0.4, 0.3, 0.6, 0.7)))
    unsure = min(recording.results(), key=confidence)
    print(f"least sure in frame {unsure.frame.index}: {confidence(unsure):.2f}")

    click = ks.Correct(object_id=thing, points=((0.5, 0.5),), labels=(True,))
    recording.show(unsure.frame.index, click)
    print(f"tracked {recording.update()} frames again")
    for result in recording.results():
        print(result.frame.index, result.tracks[0].mask.sum(), f"{confidence(result):.2f}")
