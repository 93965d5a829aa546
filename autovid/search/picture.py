"""The prior as a picture: a row for each open decision, a cell for each candidate, dark where it is probable."""

import numpy as np

from autovid.search.prior import Prior
from autovid.space import SearchSpace


def alpha_image(space: SearchSpace, prior: Prior) -> np.ndarray:
    """The probabilities of all candidates of a part's space as an image, uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(space.decisions[d], np.exp(prior.log_probs()[d])) for d in prior.open]
    widest = max((len(p) for _, p in rows), default=1)
    figure = Figure(figsize=(4.5 + 0.9 * widest, 0.8 + 0.2 * max(1, len(rows))), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    cells = np.full((max(1, len(rows)), widest), np.nan)
    for row, (decision, probabilities) in enumerate(rows):
        cells[row, : len(probabilities)] = probabilities
        for column, value in enumerate(decision.candidates):
            shade = "white" if probabilities[column] > 0.5 else "black"
            axes.text(column, row, str(value), ha="center", va="center", fontsize=6, color=shade)
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), [decision.name for decision, _ in rows], fontsize=6)
    axes.set_xticks([])
    axes.set_title("prior probability of each candidate", fontsize=8)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]
