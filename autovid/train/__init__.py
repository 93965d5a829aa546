"""Training one network from scratch, evaluating it, and the random baseline. Knows nothing of searching."""

from autovid.train.baseline import Rival, Trainer, find_rival, random_baseline, range_around
from autovid.train.comparison import Comparison, Entry
from autovid.train.evaluate import Evaluation, evaluate, evaluation_file
from autovid.train.recipe import Recipe, make_recipe
from autovid.train.train import train_model
from autovid.train.trained import Trained, as_trained, find_architecture, find_model, open_trained

__all__ = [
    "Comparison",
    "Entry",
    "Evaluation",
    "Recipe",
    "Rival",
    "Trained",
    "Trainer",
    "as_trained",
    "evaluate",
    "evaluation_file",
    "find_architecture",
    "find_model",
    "find_rival",
    "make_recipe",
    "open_trained",
    "random_baseline",
    "range_around",
    "train_model",
]
