"""The operations that PyTorch runs in a call."""

# These do no arithmetic and no pass over memory.
_VIEWS = (
    "detach",
    "slice",
    "select",
    "unsqueeze",
    "view",
    "lift_fresh",
    "to",
    "resolve_conj",
    "resolve_neg",
)


def of(run):
    """The names of the PyTorch operations in a call, without views."""
    import torch

    run()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU]
    ) as profile:
        run()
    found = [
        event.name.removeprefix("aten::").rstrip("_")
        for event in profile.events()
        if event.name.startswith("aten::")
        and not (
            event.cpu_parent and event.cpu_parent.name.startswith("aten::")
        )
    ]
    return [name for name in found if name not in _VIEWS]
