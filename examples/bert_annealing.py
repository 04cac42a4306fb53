"""A small BERT from KerasHub, fine-tuned with a falling rate.

KerasHub's own code creates the dropout layers of the classifier.
`convert_dropout` gives them live rates, and a callback lets the rates fall. The
model is small, with random weights, and the script makes the sentences. They
say that something is good or bad; in some of them "not" reverses the meaning,
and one label in ten is wrong.

The script prints the report of the conversion. For a constant rate and for one
that falls to 0, it prints the accuracy and the negative log-likelihood on other
sentences, without wrong labels. It also compares the mutual information of
sentences with unknown words to that of sentences with known words.

    python examples/bert_annealing.py [--quick] [--seed 0]

KERAS_BACKEND chooses the backend. KerasHub has to be installed (`pip install
keras-hub`). This is one run with one seed, on a task with a few words. It shows
how to do it, not which rate is better.
"""

import argparse

import keras
import numpy as np

import kerasdrop

try:
    import keras_hub
except ImportError as error:
    raise SystemExit(
        "This example needs KerasHub: pip install keras-hub"
    ) from error

RATE, LENGTH, BATCH = 0.3, 10, 32
THINGS = "film book meal song game trip hotel talk".split()
GOOD = "good great lovely fine superb".split()
BAD = "bad awful boring poor dull".split()
FILLERS = "the was is a really very quite and it".split()
UNKNOWN = "quux blorp zindle farn".split()
WORDS = ["[pad]", "[cls]", "not", *THINGS, *GOOD, *BAD, *FILLERS, *UNKNOWN]
NUMBER = {word: number for number, word in enumerate(WORDS)}


def sentence(rng, known=True):
    """Words of a sentence, and whether it is positive."""
    praises = bool(rng.integers(2))
    negated = bool(rng.integers(2))
    said = rng.choice(GOOD if praises != negated else BAD)
    thing = rng.choice(THINGS)
    if not known:
        said, thing = rng.choice(UNKNOWN, 2)
    middle = ["was", "not"] if negated else ["was"]
    fillers = rng.choice(["really", "very", "quite"], rng.integers(0, 3))
    return ["the", thing, *middle, *fillers, said], praises


def data(rng, rows, wrong=0.0, known=True):
    """Inputs for BERT, and labels."""
    ids = np.zeros((rows, LENGTH), "int32")
    labels = np.zeros(rows, "int32")
    for row in range(rows):
        words, praises = sentence(rng, known)
        numbers = [NUMBER[word] for word in ["[cls]", *words]]
        ids[row, : len(numbers)] = numbers
        labels[row] = praises != (rng.random() < wrong)
    tokens = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": (ids > 0).astype("int32"),
    }
    return tokens, labels


def classifier():
    """A BERT of two layers, built like those of `from_preset`."""
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(WORDS),
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        dropout=RATE,
        max_sequence_length=LENGTH,
    )
    return keras_hub.models.BertTextClassifier(
        backbone, num_classes=2, activation="softmax", dropout=RATE
    )


def trained(stock, schedule, train, epochs):
    """A converted copy, trained while its rates follow the schedule."""
    model, _ = kerasdrop.convert_dropout(stock)
    model.compile(
        keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy"
    )
    callback = kerasdrop.callbacks.DropoutRateScheduler(schedule)
    x, y = train
    model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        callbacks=[callback],
        verbose=0,
        shuffle=False,  # the rows are random already
    )
    return model


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows, epochs = (64, 2) if arguments.quick else (1024, 20)
    keras.utils.set_random_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    train = data(rng, rows, wrong=0.1)
    x, y = data(rng, rows)
    unknown, _ = data(rng, rows, known=False)

    stock = classifier()
    print(kerasdrop.convert_dropout(stock).report, end="\n\n")
    schedules = {
        "stays": lambda epoch: RATE,
        "falls": kerasdrop.schedules.Linear(RATE, 0.0, num_steps=epochs - 1),
    }
    print(f"rate {RATE}  accuracy  NLL    mutual information, unknown : known")
    for name, schedule in schedules.items():
        model = trained(stock, schedule, train, epochs)
        probabilities = model.predict(x, verbose=0)
        accuracy = (probabilities.argmax(axis=1) == y).mean()
        likelihood = probabilities[np.arange(rows), y].clip(1e-7)
        # What draws in a Monte Carlo pass is the call's, whatever was trained.
        known, other = (
            kerasdrop.mc_predict(
                model, tokens, 32, rate=RATE, seed=0, verbose=0
            ).mutual_information.mean()
            for tokens in (x, unknown)
        )
        print(
            f"{name}     {accuracy:8.3f}  {-np.log(likelihood).mean():.3f}  "
            f"{other:.4f} : {known:.4f}"
        )


if __name__ == "__main__":
    main()
