"""Speed and memory of a whole-body restoration beside what a user would pick instead: `mapdiff-train bench --help`."""
