"""Work on whole data sets: checking, small copies, Mini- sets."""
