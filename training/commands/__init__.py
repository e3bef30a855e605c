"""The commands of mapdiff-train by what they are about; each file adds its own to the command line."""
