"""The device a run uses, from its settings, and what may go wrong on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import torch

from vos.errors import DeviceError, SourceError
from vos.types import Frame

if TYPE_CHECKING:
    from vos.settings import Settings

# What libraries below PyTorch say where there is no memory: oneDNN, CUDA, cuBLAS.
_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps` as a torch device.

    Raises:
        DeviceError: not a device's name, or a device that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cuda" and (not index or index.isdecimal()):
        # Which one is current differs from thread to thread, and torch reads 256 as 0.
        number = int(index) if index else torch.cuda.current_device() if count else 0
        if number < count:
            return torch.device("cuda", number)
        found = f"{count} CUDA device{'s' if count != 1 else ''} (0 to {count - 1})" if count else "no CUDA device"
        raise DeviceError(f"device '{name}' is not there: found {found}; use --device auto or cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cpu":
        return device
    if device.type == "mps" and torch.backends.mps.is_available():
        return device
    raise DeviceError(f"device '{name}' is not there or not supported; use auto, cpu, cuda, cuda:N or mps")


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` as bfloat16 where the device has instructions for it and float32 elsewhere; other names as they are."""
    if name != "auto":
        return name
    if device.type == "cuda":
        there = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        there = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return "bfloat16" if there else "float32"


def settings_record(settings: Settings, device: torch.device) -> dict[str, Any]:
    """Every setting, as plain data; device and precision as they are here."""
    precision = resolve_precision(settings.precision, device)
    return {**settings.model_dump(mode="json"), "device": str(device), "precision": precision}


def check_surroundings() -> None:
    """That the caller has not told torch to compute otherwise than models need it.

    Raises:
        DeviceError: another default dtype or device, or autocast.
    """
    dtype, place = torch.get_default_dtype(), torch.get_default_device()
    if dtype is not torch.float32:
        raise DeviceError(f"torch's default is {dtype}; vos needs torch.set_default_dtype(torch.float32)")
    if place.type != "cpu":
        raise DeviceError(
            f"torch's default device is {place}; vos needs torch.set_default_device('cpu'), and its own "
            "is the setting 'device'"
        )
    if any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
        raise DeviceError("torch.autocast is on; leave it for vos, whose own is the setting 'precision'")


@contextmanager
def frame_errors(frame: Frame, device: torch.device) -> Iterator[None]:
    """What a user can mend of a frame's errors, in words.

    Raises:
        DeviceError: out of memory.
        SourceError: it is longer than OpenCV's `remap` takes.
    """
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise _out_of_memory(frame, "cpu") from error
        if "SHRT_MAX" not in str(error):
            raise
        h, w = frame.size
        raise SourceError(
            f"frame {frame.index} is {w}x{h}, and 32766 pixels along a side are the most for this tracker, or for "
            "keyframes; track in a smaller picture (max_size), or with the preset best"
        ) from error
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and not any(sign in str(error) for sign in _NO_MEMORY):
            raise
        raise _out_of_memory(frame, device) from error


def _out_of_memory(frame: Frame, device: torch.device | str) -> DeviceError:
    h, w = frame.size
    return DeviceError(
        f"out of memory on {device} at frame {frame.index} ({w}x{h}); track fewer objects at a time or smaller "
        "frames, or use another device"
    )


class SideStreams:
    """Work on a GPU beside what the current stream has queued there; elsewhere work like any other.

    Threads that work at the same time have a stream each. A stream that is idle again serves the next thread, since
    memory that was freed on one stream is of no use on another.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._idle: list[torch.cuda.Stream] = []

    @contextmanager
    def work(self) -> Iterator[None]:
        """What a with-block queues goes to a side stream, and is finished when the block ends."""
        if self._device.type != "cuda":
            yield
            return
        try:
            stream = self._idle.pop()
        except IndexError:
            stream = torch.cuda.Stream(self._device)
        try:
            with torch.cuda.stream(stream):
                yield
            stream.synchronize()
        finally:
            self._idle.append(stream)

    def take_over(self, *tensors: torch.Tensor) -> None:
        """Tensors that `work` made are read on the current stream from now on.

        Without this their memory could go to new work of the side stream while queued readers still need it.
        """
        if self._device.type == "cuda":
            for tensor in tensors:
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
