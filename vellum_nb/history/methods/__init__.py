"""The halves of `History`: the methods on one subject each."""
