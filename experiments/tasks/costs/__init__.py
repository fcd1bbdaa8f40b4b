"""How the models of a task are counted and timed; decides no result of a training."""
