"""What each task does with the graph's outputs, one file per task."""
