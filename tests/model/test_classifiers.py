"""Linear classifiers in memory: every answer is compared with scikit-learn's own ``predict``."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import geom
from geom import InputError, Witness

CLASSIFIERS = [
    LinearDiscriminantAnalysis(),
    LinearSVC(),
    LinearSVC(fit_intercept=False),
    LinearSVC(multi_class="crammer_singer", C=1e-4),
    LogisticRegression(max_iter=1000),
    LogisticRegression(max_iter=1000, fit_intercept=False),
    LogisticRegressionCV(
        Cs=2, cv=3, max_iter=1000, l1_ratios=(0.0,), use_legacy_attributes=False, scoring="accuracy"
    ),
    Perceptron(),
    RidgeClassifier(),
    RidgeClassifierCV(),
    RidgeClassifier(fit_intercept=False),
    SGDClassifier(random_state=0),
]


def digits(components: int = 2) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the ten digits in few dimensions, where several may be hidden by others."""
    X, y = load_digits(return_X_y=True)
    return PCA(components, svd_solver="full").fit_transform(X), y


def fitted(classifier: Any, X: NDArray[Any], y: NDArray[Any]) -> Any:
    """Return a classifier that has learnt, however little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: it predicts all the same
        return classifier.fit(X, y)


def binary(X: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the examples of the first two classes."""
    return X[y < 2], np.array(["no", "yes"])[y[y < 2]]


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_predict_agrees_with_every_verdict(classifier: Any) -> None:
    X, y = digits()
    model = fitted(classifier, X, y)
    run = geom.run(model, tokens="all")
    assert [row.token for row in run.rows()] == [str(name) for name in model.classes_]
    for row in run.rows(verdict="speakable"):
        proof = run.certificate(row.token_id)
        assert isinstance(proof, Witness)
        assert model.predict(proof.x[None]) == [model.classes_[row.token_id]]
    assert run.counts()["undecided"] == 0
    dead = [model.classes_[row.token_id] for row in run.rows(verdict="unspeakable")]
    rng = np.random.default_rng(0)
    points = np.concatenate(
        [X, *(10.0**k * rng.standard_normal((20_000, 2)) for k in range(-2, 5))]
    )
    assert not np.isin(model.predict(points), dead).any()


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_two_classes_are_two_rows_whose_difference_is_the_one_row(classifier: Any) -> None:
    X, y = binary(*digits())
    model = fitted(classifier, X, y)
    readout = geom.load(model)
    assert readout.tokens == ("no", "yes")
    assert (readout.W[1] - readout.W[0] == np.ravel(model.coef_)).all()
    assert readout.b[1] - readout.b[0] == np.ravel(model.intercept_)[0]
    predicted = model.predict(X)
    assert (np.array(readout.tokens)[readout.logits(X).argmax(axis=1)] == predicted).all()


def test_a_tie_of_two_classes_goes_to_the_first_as_in_predict() -> None:
    X = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [1.0, 1.0]])
    model = fitted(LinearDiscriminantAnalysis(), X, np.array([0, 1, 0, 1]))
    model.coef_, model.intercept_ = np.array([[1.0, 0.0]]), np.array([0.0])
    tie = np.array([[0.0, 7.0]])
    assert model.decision_function(tie) == [0.0]
    assert model.predict(tie) == geom.load(model).logits(tie).argmax(axis=1) == [0]


def test_three_lines_find_a_digit_that_indicator_regression_never_predicts() -> None:
    X, y = digits(5)
    classifier = RidgeClassifier().fit(X, y)
    run = geom.run(classifier)
    assert [row.token for row in run.rows(verdict="unspeakable")] == ["8"]
    assert 8 not in classifier.predict(X)


def test_two_lines_that_cross_hide_the_class_between_them() -> None:
    # Hastie, Tibshirani and Friedman, section 4.2: regression on indicators masks a middle class
    X, y = load_iris(return_X_y=True)
    model = RidgeClassifier().fit(X[:, 2:3], y)
    assert [row.token_id for row in geom.run(model).rows(verdict="unspeakable")] == [1]
    # in one dimension the largest of the outer two is at least the middle one where those cross
    crossing = -(model.intercept_[2] - model.intercept_[0]) / (model.coef_[2] - model.coef_[0])
    scores = model.decision_function(crossing[None])[0]
    assert scores[1] < min(scores[0], scores[2])


def test_single_precision_and_sparse_coefficients_are_read_as_they_are() -> None:
    X, y = digits()
    single = fitted(RidgeClassifier(), X.astype(np.float32), y)
    assert single.coef_.dtype == np.float32
    assert (single.coef_ == geom.load(single).W).all()
    sparse = fitted(SGDClassifier(random_state=0), X, y).sparsify()
    assert isinstance(sparse.coef_, csr_matrix)
    assert (sparse.coef_.toarray() == geom.load(sparse).W).all()


def several_labels() -> Any:
    X, y = digits()
    return RidgeClassifier().fit(X, np.stack([y < 5, y % 2 == 0, y > 7], axis=1) * 1)


def several_labels_all_alike() -> Any:
    X, _ = digits()
    return RidgeClassifier().fit(X, np.ones((len(X), 3)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LinearSVC(), "has no coef_ and no intercept_ and no classes_"),
        (lambda: LinearRegression().fit(*digits()), "has no classes_"),
        (lambda: NearestCentroid().fit(*digits()), "has no coef_ and no intercept_: give a linear"),
        (lambda: OneVsRestClassifier(LinearSVC()).fit(*digits()), "has no coef_"),
        (several_labels_all_alike, "one for each label: give one classifier for each"),
        (several_labels, "one for each label: give one classifier for each"),
        (
            lambda: SVC(kernel="linear").fit(*digits()),
            "SVC has 45 rows of coef_ for 10 classes",
        ),
        (
            lambda: SVC(kernel="linear").fit(
                *(part[load_digits().target < 3] for part in digits())
            ),
            "SVC does not predict the class with the largest score",
        ),
        (
            lambda: make_pipeline(StandardScaler(), LinearSVC()).fit(*digits()),
            r"Pipeline changes the features .* geom\.load\(pipeline\[-1\]\)",
        ),
        (
            lambda: GridSearchCV(LinearSVC(), {"C": [0.1, 1.0]}).fit(*digits()),
            "give its best_estimator_",
        ),
    ],
)
def test_what_is_not_the_argmax_of_one_row_a_class_is_refused_by_name(make: Any, said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        model = make()
    with pytest.raises(InputError, match=said):
        geom.load(model)


def test_the_last_step_of_a_pipeline_is_taken() -> None:
    pipeline = make_pipeline(StandardScaler(), RidgeClassifier()).fit(*digits())
    readout = geom.load(pipeline[-1])
    assert readout.tokens == tuple("0123456789")
    assert readout.notes == ("coef_ and intercept_ of a RidgeClassifier",)


def test_names_of_features_do_not_matter() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = digits()
    model = RidgeClassifier().fit(pandas.DataFrame(X, columns=["one", "two"]), y)
    assert geom.load(model).noun == "class"


def test_features_between_bounds_are_a_box_exactly() -> None:
    X, y = load_digits(return_X_y=True)
    model = RidgeClassifier().fit(X, y)
    half = np.full(64, 8.0)  # a pixel is 8 + 8 u with u in [-1, 1]
    readout = geom.Readout.fold(model.coef_, model.intercept_, gamma=half, beta=half, noun="class")
    run = geom.run(readout, domain="box", tokens="all")
    for row in run.rows(verdict="speakable"):
        proof = run.certificate(row.token_id)
        assert isinstance(proof, Witness)
        pixels = 8.0 + 8.0 * proof.x
        assert ((pixels >= 0.0) & (pixels <= 16.0)).all()
        assert model.predict(pixels[None]) == [row.token_id]


def test_scikit_learn_is_not_imported() -> None:
    code = (
        "import sys, types, numpy, geom;"
        "model = types.SimpleNamespace(fit=None, predict=lambda x: x @ [1.0, 2.0] > 0,"
        " coef_=numpy.array([[1.0, 2.0]]), intercept_=0.0, classes_=numpy.array([False, True]));"
        "assert geom.load(model).tokens == ('False', 'True');"
        "assert not {'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
