"""Work on a GPU that is recorded once and replayed as one launch, where Python would launch hundreds of kernels.

On a fast GPU the network waits for the interpreter, and so does everything else that the interpreter has to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from inspect import ismethod
from threading import Lock
from typing import Any
from weakref import WeakMethod

import torch

Work = Callable[..., tuple[torch.Tensor, ...]]
_Key = tuple[tuple[torch.Size, torch.dtype], ...]

# Shapes whose coming is counted; clips of ever new sizes are no reason to grow.
_REMEMBERED = 1000
# Where there was no memory for a recording, so many calls pass before it is tried again.
_AGAIN = 1000
# One recording at a time, and no replay meanwhile, which PyTorch 2.6 takes for a part of it.
_RECORDING = Lock()


class _NotRecorded(Exception):
    """Recording failed."""


class Recorded:
    """A function of tensors as a CUDA graph for each of their shapes: the same kernels, launched as one.

    Shapes that come once or twice are computed as they are; recording takes a few times as long as computing. Threads
    and streams may share one: their calls follow each other.

    Args:
        work: tensors on the device -> a tuple of tensors. It reads nothing back to the host, and whatever else it uses
            stays where it is in memory. Where it is a method, its object has to be kept by others.
        device: a CUDA device.
        most: how many shapes to keep recorded; when another one comes, all are forgotten.
        patience: how often a shape has to come before it is recorded.
    """

    def __init__(self, work: Work, device: torch.device, most: int = 4, patience: int = 2) -> None:
        # A method's object mostly owns this one. To hold it in turn would be a cycle: its weights would wait for the
        # garbage collector.
        self._weakly: Callable[[], Work | None] = WeakMethod(work) if ismethod(work) else lambda: work
        self._device = device
        self._most = most
        self._patience = patience
        self._met: Counter[_Key] = Counter()
        self._recordings: dict[_Key, _Recording] = {}
        self._calls = Lock()
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None
        self._free = torch.cuda.Event()

    @property
    def _work(self) -> Work:
        work = self._weakly()
        assert work is not None, "called when the method's object is gone"
        return work

    @torch.inference_mode()
    def __call__(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the work makes of tensors, which may lie elsewhere; the results are the caller's."""
        key = tuple((one.shape, one.dtype) for one in given)
        with self._calls, torch.cuda.device(self._device):
            recording = self._recordings.get(key)
            if recording is None and self._is_due(key):
                # A recording needs memory of its own. Where there is not enough, go on without it, but only after this
                # block: the exception still holds some.
                self._met[key] = -_AGAIN
                with suppress(torch.OutOfMemoryError, _NotRecorded):
                    recording = self._record(key, given)
            # A call may leave something for the next one, such as a cache filled when first needed.
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._free)
            try:
                if recording is None:
                    return self._work(*(one.to(self._device) for one in given))
                return recording(given)
            finally:
                self._free.record(stream)

    def _is_due(self, key: _Key) -> bool:
        """Whether a shape, counted here, has come often enough."""
        if len(self._met) > _REMEMBERED:
            self._met.clear()
        self._met[key] += 1
        return self._met[key] > self._patience

    def _record(self, key: _Key, given: tuple[torch.Tensor, ...]) -> _Recording:
        with _RECORDING:
            # Nothing may be in use that is freed. Memory kept for computing what will be recorded is not needed again.
            torch.cuda.synchronize(self._device)
            if len(self._recordings) >= self._most:
                self._forget()
            torch.cuda.empty_cache()
            if not self._recordings:
                # A pool ends with the last recording in it.
                self._pool = torch.cuda.graph_pool_handle()
            # Results are copied before anything else runs, so recordings may work in the same memory.
            try:
                self._recordings[key] = _Recording(self._work, given, self._device, self._stream, self._pool)
            except BaseException:
                self._forget()
                raise
        return self._recordings[key]

    def _forget(self) -> None:
        """All of them: with the first that ends goes what cuBLAS keeps for the stream on which all were made."""
        for key in self._recordings:
            self._met.pop(key, None)
        self._recordings.clear()


class _Recording:
    """The work on tensors of one shape."""

    def __init__(
        self,
        work: Work,
        given: tuple[torch.Tensor, ...],
        device: torch.device,
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            self._given = tuple(one.to(device, copy=True) for one in given)
            # Libraries take what they need now: while this records, they may not.
            work(*self._given)
            stream.synchronize()
            torch.cuda.empty_cache()  # the recording's memory is its own
            try:
                # Other threads go on meanwhile, and may ask for memory.
                self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                self._results = work(*self._given)
                self._graph.capture_end()
            except BaseException as error:
                for end in (self._graph.capture_end, self._graph.reset):
                    with suppress(RuntimeError):
                        end()
                # What is wrong with the work itself shows when it is done without.
                if isinstance(error, RuntimeError):
                    raise _NotRecorded from error
                raise
        stream.synchronize()

    def __call__(self, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        for own, one in zip(self._given, given, strict=True):
            own.copy_(one, non_blocking=True)
        with _RECORDING:
            self._graph.replay()
        return tuple(one.clone() for one in self._results)
