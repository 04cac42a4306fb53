"""States of layers among the parameters of a PyTorch module."""

import torch

from kerasdrop._types import Function
from kerasdrop._types import Given

__all__ = ["States"]


class States(torch.nn.ParameterDict):
    """Parameters that are the values of Keras variables, and stay so.

    A variable of Keras keeps the parameter that it was made with. PyTorch puts
    another one in its place in `load_state_dict(assign=True)` and where a
    module moves to the device "meta", and Keras would not see what is loaded
    into that.

    Args:
        values: Dict from names to parameters.
    """

    def _apply(self, fn: Function, recurse: bool = True) -> "States":
        held = dict(self._parameters)
        values = {
            name: parameter.detach().clone()
            for name, parameter in held.items()
            if parameter is not None
        }
        super()._apply(fn, recurse)
        with torch.no_grad():
            for name, value in values.items():
                parameter: Given = held[name]
                new: Given = self._parameters[name]
                if new is not parameter:
                    if not new.is_meta:
                        parameter.data = new.data
                    self._parameters[name] = parameter
                # After `to_empty` any value is there, which may be no rate.
                parameter.copy_(value)
        return self

    def _load_from_state_dict(
        self,
        state_dict: Given,
        prefix: str,
        local_metadata: Given,
        *args: Given,
    ) -> None:
        # The parameters are never on "meta", so that values can be copied.
        metadata = {**local_metadata, "assign_to_params_buffers": False}
        super()._load_from_state_dict(state_dict, prefix, metadata, *args)
