"""What `import fewslice` gives: thin functions on arrays and paths."""
