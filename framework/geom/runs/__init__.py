"""The life of a run: planning, detection, certification, the pipeline, verification."""
