"""Training and evaluation of one network, independent of any search."""

from autovid import callable_package
from autovid.train.evaluate import Evaluation, evaluate, evaluation_file
from autovid.train.recipe import Recipe, make_recipe
from autovid.train.train import resume_training, train_model
from autovid.train.trained import Trained, as_trained, find_architecture, find_model, open_trained

__all__ = [
    "Evaluation",
    "Recipe",
    "Trained",
    "as_trained",
    "evaluate",
    "evaluation_file",
    "find_architecture",
    "find_model",
    "make_recipe",
    "open_trained",
    "resume_training",
    "train_model",
]

callable_package(__name__)
