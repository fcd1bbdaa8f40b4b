"""What evaluation servers take: which images a run is to be tested on, and archives of what it finds there."""
