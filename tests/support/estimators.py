"""Wraps given predictions as estimators of scikit-learn."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.base import ClassifierMixin
from sklearn.base import RegressorMixin


class Column(RegressorMixin, BaseEstimator):
    """A regressor whose predictions are a column of its inputs."""

    def __init__(self, number=0):
        self.number = number
        self.fitted_ = True

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.asarray(x)[:, self.number]


class Probabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are its inputs."""

    def __init__(self, num_classes=2):
        self.num_classes = num_classes
        self.classes_ = np.arange(num_classes)
        self.fitted_ = True

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return np.asarray(x)

    def predict(self, x):
        return np.asarray(x).argmax(axis=-1)
