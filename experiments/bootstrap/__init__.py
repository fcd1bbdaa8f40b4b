"""How far a run's metrics would move on other images of the same kind: paired bootstrap over the images of the test."""
