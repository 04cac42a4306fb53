"""The kinds by the names that users write; a new kind needs a line here."""

from kerasdrop.montecarlo.statistics.kinds import binary
from kerasdrop.montecarlo.statistics.kinds import classes
from kerasdrop.montecarlo.statistics.kinds import normal
from kerasdrop.montecarlo.statistics.kinds import regression

KINDS = {
    kind.name: kind
    for kind in (
        classes.Probabilities(),
        classes.Logits(),
        binary.Binary(),
        regression.Regression(),
        normal.MeanAndVariance(),
        normal.MeanAndLogVariance(),
    )
}
