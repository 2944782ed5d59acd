"""A second device without a second device: tensors that lie on ``second:0`` by their word, and refuse to meet others.

The values are the CPU's, so whatever runs there runs; what is checked is what a GPU checks. A tensor of the one and a tensor of the
other device must not meet in an operation, but for numbers (no dimensions), ``copy_`` and indices that lie on the CPU; a generator of the
CPU draws nothing on the other device; numpy sees only the CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

NAME = "second"
SECOND = None  # the device, once the name is known


class Mixed(RuntimeError):
    """Tensors of two devices met."""


class There(torch.Tensor):
    """A tensor on the second device."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return _call(function, args, kwargs or {})

    def __deepcopy__(self, memo: Any) -> There:
        with torch._C.DisableTorchFunctionSubclass():
            copied = self.detach().clone().as_subclass(There).requires_grad_(self.requires_grad)
        copied.__dict__.update(self.__dict__)  # a parameter stays one
        memo[id(self)] = copied
        return copied


class _Factories(TorchFunctionMode):
    """What makes tensors, or asks for modules to be moved, by the name of the device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = kwargs.get("device")
        if asked is not None and torch.device(asked).type == NAME and function is not torch.Tensor.to:
            source = kwargs.get("generator")
            if source is not None and source.device.type != NAME:
                raise Mixed(f"{function.__name__}: a generator of {source.device} draws on {asked}")
            with torch._C.DisableTorchFunctionSubclass():
                return _there(function(*args, **{**kwargs, "device": "cpu"}))
        if function is torch.Tensor.to:
            with torch._C.DisableTorchFunctionSubclass():
                return _to(function, args, kwargs)
        return function(*args, **kwargs)


def _call(function: Any, args: Any, kwargs: Any) -> Any:
    name = getattr(function, "__name__", "")
    if function == torch.Tensor.device.__get__:
        return _device(args[0])
    if function == torch.Tensor.is_cpu.__get__:
        return not isinstance(args[0], There)
    if function in (torch.Tensor.to, torch.Tensor.cpu):
        return _to(function, args, kwargs)
    if function in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(args[0], There):
        raise Mixed("numpy sees no tensor of the second device")
    found = list(_tensors((args, kwargs)))
    there = [value for value in found if isinstance(value, There)]
    if not there:
        return function(*args, **kwargs)
    if not _may_meet(function, name, args, found):
        shapes = ", ".join(f"{tuple(value.shape)} {'there' if isinstance(value, There) else 'here'}" for value in found)
        raise Mixed(f"{name or function}: tensors of two devices ({shapes})")
    result = function(*args, **kwargs)
    if name in ("copy_", "__getitem__", "__setitem__") and not isinstance(args[0], There):
        return result
    return _there(result, given=found)


def _may_meet(function: Any, name: str, args: Any, found: list[torch.Tensor]) -> bool:
    if name in ("copy_", "__set__", "set_", "_has_compatible_shallow_copy_type"):
        return True
    if name in ("__getitem__", "__setitem__"):
        target, index = args[0], list(_tensors(args[1]))
        value = [part for part in _tensors(args[2:]) if part.ndim]
        if not isinstance(target, There):
            return not any(isinstance(part, There) for part in index)
        return True if name == "__getitem__" else all(isinstance(part, There) for part in value) or not value
    sized = [value for value in found if value.ndim]
    if name in ("cat", "stack", "concat"):
        sized = found
    return not sized or all(isinstance(value, There) for value in sized)


def _device(tensor: torch.Tensor) -> Any:
    return SECOND if isinstance(tensor, There) else torch.device("cpu")


def _to(function: Any, args: Any, kwargs: Any) -> Any:
    tensor, rest, kwargs = args[0], list(args[1:]), dict(kwargs)
    target: Any = _device(tensor)
    if function is torch.Tensor.cpu:
        target = torch.device("cpu")
    for place, value in [*enumerate(rest), *kwargs.items()]:
        moved: Any = None
        if isinstance(value, torch.Tensor):
            target = _device(value)
            moved = value.dtype
        elif isinstance(value, (str, torch.device)) and place != "memory_format":
            target = torch.device(value)
            moved = "cpu"
        if moved is not None:
            if isinstance(place, int):
                rest[place] = moved
            else:
                kwargs[place] = moved
    if "other" in kwargs:
        kwargs["dtype"] = kwargs.pop("other")
    result = function(tensor, *rest, **kwargs)
    if target.type == NAME:
        return result if isinstance(result, There) else result.as_subclass(There)
    if isinstance(result, There):
        return result.as_subclass(torch.Tensor)
    return result


def _there(value: Any, given: Any = ()) -> Any:
    if isinstance(value, There) or any(value is one for one in given):
        return value
    if isinstance(value, torch.Tensor):
        if value.is_leaf and value.requires_grad:
            return value.detach().as_subclass(There).requires_grad_()
        return value.as_subclass(There)
    if type(value) in (list, tuple):
        return type(value)(_there(part, given) for part in value)
    if isinstance(value, tuple) and type(value).__module__ == "torch.return_types":
        return type(value)(_there(part, given) for part in value)
    return value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


@contextlib.contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside, ``second`` is the name of a device."""
    global SECOND
    if torch._C._get_privateuse1_backend_name() != NAME:  # once for the process
        torch.utils.rename_privateuse1_backend(NAME)
        halves = [torch.bfloat16, torch.float16]
        module = SimpleNamespace(
            get_amp_supported_dtype=lambda: halves, is_available=lambda: False, device_count=lambda: 0,
            _is_in_bad_fork=lambda: False, manual_seed_all=lambda seed: None,
        )  # fmt: skip
        torch._register_device_module(NAME, module)
    SECOND = torch.device(NAME, 0)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Factories():
            yield SECOND
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
