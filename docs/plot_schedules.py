"""Draws docs/images/schedules.png: each schedule over 1000 steps.

python docs/plot_schedules.py
"""

import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np

from kerasdrop import schedules

NUM_STEPS = 1000
PATH = pathlib.Path(__file__).parent / "images" / "schedules.png"
SCHEDULES = {
    "Constant(0.3)": schedules.Constant(0.3),
    "Linear(0.5, 0.1, 800)": schedules.Linear(0.5, 0.1, 800),
    "Polynomial(0.5, 0.1, 800, power=3)": schedules.Polynomial(
        0.5, 0.1, 800, power=3
    ),
    "Cosine(0.5, 0.1, 800)": schedules.Cosine(0.5, 0.1, 800),
    "Exponential(0.5, 0.05, 800)": schedules.Exponential(0.5, 0.05, 800),
    "Curriculum(0.5, gamma=0.005)": schedules.Curriculum(0.5, 0.005),
    "EarlyDropout(0.5, 400)": schedules.EarlyDropout(0.5, 400),
    "LateDropout(0.5, 600)": schedules.LateDropout(0.5, 600),
    "PiecewiseLinear.from_fractions(\n'0,0@0.20,0.5@0.50,0', 1000)": (
        schedules.PiecewiseLinear.from_fractions("0,0@0.20,0.5@0.50,0", 1000)
    ),
    "Steps([300, 700], [0.5, 0.2, 0.4])": schedules.Steps(
        [300, 700], [0.5, 0.2, 0.4]
    ),
    "stage_wise(0.1, 0.4, 4, 1000)": schedules.stage_wise(0.1, 0.4, 4, 1000),
    "Cyclic(Linear(0.5, 0, 250), 250)": schedules.Cyclic(
        schedules.Linear(0.5, 0, 250), 250
    ),
    "Join([0.1, Cosine(0.5, 0, 600)], [300])": schedules.Join(
        [0.1, schedules.Cosine(0.5, 0, 600)], [300]
    ),
    "warm_up(Cosine(0.5, 0, 800), 200)": schedules.warm_up(
        schedules.Cosine(0.5, 0, 800), 200
    ),
    "linear_depth_rates(12, 0.5)": schedules.linear_depth_rates(12, 0.5),
    "step_depth_rates(12, 0.15, part=0.33)": schedules.step_depth_rates(
        12, 0.15, part=0.33
    ),
}


def main():
    figure, grid = plt.subplots(
        4, 4, figsize=(11, 8), sharey=True, layout="constrained"
    )
    steps = np.arange(NUM_STEPS, dtype="int32")
    for axes, (title, schedule) in zip(grid.flat, SCHEDULES.items()):
        axes.set_title(title, fontsize=8, family="monospace")
        if isinstance(schedule, list):
            axes.bar(np.arange(1, len(schedule) + 1), schedule, color="C1")
            axes.set_xlabel("layer", fontsize=8)
        else:
            rates = keras.ops.convert_to_numpy(schedule(steps))
            axes.plot(steps, rates)
            axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_ylim(-0.02, 0.62)
    for axes in grid[:, 0]:
        axes.set_ylabel("rate", fontsize=8)
    PATH.parent.mkdir(exist_ok=True)
    figure.savefig(PATH, dpi=80)


if __name__ == "__main__":
    main()
