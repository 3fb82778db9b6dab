"""Where nano looks for objects that have moved, against attention written out place by place."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from keepsight.model.memory import EMPTY
from keepsight.model.nano_image_encoder import positions
from keepsight.model.nano_memory import held_frames, read
from keepsight.model.nano_places import NEAR, Places, carried, surroundings

SIZE = (4, 6)
EVERYWHERE, NOWHERE = torch.tensor((0.0, 0.0, 1.0, 1.0)), torch.tensor((1.0, 1.0, 0.0, 0.0))
SHARPNESS = torch.tensor(9.0)
STAY = torch.tensor(0.3)
CARRIED = torch.tensor([[[0.0, 0.0]], [[0.4, -0.2]], [[-0.7, 0.5]]])


def disc(x: float, y: float, radius: float = 0.1, size: tuple[int, int] = (40, 60)) -> Tensor:
    rows, columns = ((torch.arange(side) + 0.5) / side for side in size)
    return (((rows.view(-1, 1) - y) ** 2 + (columns - x) ** 2) < radius**2).float()


def looks(channels: int, size: tuple[int, int], seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return 2 * torch.nn.functional.normalize(torch.randn(1, channels, *size, generator=random), dim=1)


def placed(look: Tensor) -> Tensor:
    """Keys as the image encoder makes them: a look, and a position of the given sharpness."""
    return torch.cat((look, positions(look) * SHARPNESS.sqrt()), dim=1)


def kept(x: Tensor, factor: int) -> Tensor:
    return torch.nn.functional.pixel_unshuffle(x, factor)


def written_out(query: Tensor, key: Tensor, values: Tensor, by: Tensor) -> Tensor:
    """Looks (C, h, w) and values (V, h, w) of one object that has come `by` (2,): (V, h, w)."""
    h, w = SIZE
    y, x = (torch.linspace(0, math.pi, side) for side in (h, w))
    found = torch.zeros_like(values)
    for row in range(h):
        for column in range(w):
            alike = (query[:, row, column].view(-1, 1, 1) * key).sum(0)
            weights = torch.zeros(h, w)
            for dx, dy, much in ((0.0, 0.0, STAY), (float(by[0]), float(by[1]), torch.tensor(1.0))):
                near = (x[column] - math.pi * dx - x).cos() + (y[row] - math.pi * dy - y).cos().view(-1, 1)
                weights += much * (alike + SHARPNESS * near).exp()
            found[:, row, column] = (values * weights).sum((1, 2)) / weights.sum()
    return found


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("mixed", [False, True])
def test_each_object_reads_the_prompted_frame_from_where_it_has_come(factor: int, mixed: bool) -> None:
    query, key, shown = looks(5, SIZE, 0), looks(5, SIZE, 1), looks(3, SIZE, 2)
    by = CARRIED if mixed else CARRIED[1:2]
    count = len(by)
    keys, values = (kept(x, factor).unsqueeze(1).expand(count, -1, -1, -1, -1) for x in (placed(key), shown))
    held = held_frames(torch.zeros(count, dtype=torch.int64), torch.zeros(count, 1, dtype=torch.int64), 1)
    first, every = read(placed(query), keys, values, held, Places(by, EVERYWHERE.expand(count, 4), STAY))
    for row in range(count):
        expected = written_out(query[0], key[0], shown[0], by[row, 0])
        torch.testing.assert_close(first[row], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(every, first)


def test_an_object_that_stayed_reads_as_if_nothing_could_move() -> None:
    query, key, shown = placed(looks(5, SIZE, 0)), placed(looks(5, SIZE, 1)), looks(3, SIZE, 2)
    keys, values = key.unsqueeze(1), shown.unsqueeze(1)
    held = held_frames(torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64), 1)
    places = Places(torch.zeros(1, 1, 2), EVERYWHERE[None], STAY)
    torch.testing.assert_close(read(query, keys, values, held, places), read(query, keys, values, held))


def test_far_from_its_last_mask_an_object_reads_the_frame_as_it_was() -> None:
    query, key, shown = placed(looks(5, SIZE, 0)), placed(looks(5, SIZE, 1)), looks(3, SIZE, 2)
    keys, values = (x.unsqueeze(1).expand(2, -1, -1, -1, -1) for x in (key, shown))
    held = held_frames(torch.zeros(2, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64), 1)
    left = torch.tensor((0.0, 0.0, 0.5, 0.75))

    def found(*near: Tensor) -> Tensor:
        return read(query, keys, values, held, Places(CARRIED[1:], torch.stack(near), STAY))[0]

    partly, nowhere, everywhere = found(left, NOWHERE), found(NOWHERE, NOWHERE), found(EVERYWHERE, EVERYWHERE)
    torch.testing.assert_close(partly[0, :, :3, :3], everywhere[0, :, :3, :3])
    torch.testing.assert_close(partly[0, :, 3:], nowhere[0, :, 3:])
    torch.testing.assert_close(partly[0, :, :, 3:], nowhere[0, :, :, 3:])
    torch.testing.assert_close(partly[1], nowhere[1])
    torch.testing.assert_close(nowhere, read(query, keys, values, held)[0])


def test_recent_frames_are_read_as_they_are() -> None:
    query, key, shown = placed(looks(5, SIZE, 0)), placed(looks(5, SIZE, 1)), looks(3, SIZE, 2)
    keys, values = (x.unsqueeze(1).expand(-1, 2, -1, -1, -1) for x in (key, shown))
    written = torch.tensor([[EMPTY, 3]])
    held = held_frames(torch.zeros(1, dtype=torch.int64), written, 1)
    places = Places(torch.full((1, 2, 2), 0.3), EVERYWHERE[None], STAY)
    torch.testing.assert_close(read(query, keys, values, held, places), read(query, keys, values, held))


def test_how_far_a_mask_has_come() -> None:
    then = torch.stack((disc(0.2, 0.5), disc(0.5, 0.2), torch.zeros(40, 60))).unsqueeze(0)
    now = disc(0.6, 0.4, size=(80, 120)).view(1, 1, 80, 120)
    expected = torch.tensor([[[0.4, -0.1], [0.1, 0.2], [0.0, 0.0]]])
    torch.testing.assert_close(carried(then, now), expected, rtol=0, atol=0.01)
    hidden = carried(then, torch.zeros_like(now))
    assert not hidden.any()


def test_where_an_object_is_near() -> None:
    masks = torch.stack((disc(0.5, 0.4), torch.zeros(40, 60), disc(0.0, 1.0))).unsqueeze(1)
    expected = torch.tensor([[0.4, 0.3, 0.6, 0.5], [1.0, 1.0, 0.0, 0.0], [0.0, 0.9, 0.1, 1.0]])
    wider = torch.tensor([[-NEAR, -NEAR, NEAR, NEAR], [0, 0, 0, 0], [0, -NEAR, NEAR, 0]])
    torch.testing.assert_close(surroundings(masks), expected + wider, rtol=0, atol=0.03)
