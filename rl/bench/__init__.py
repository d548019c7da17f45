"""`make bench`: the same work by this project and by what a user would pick instead."""
