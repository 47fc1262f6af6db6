package main

const decideDir = "internal/decide/"

// decideFaults break the answers.
var decideFaults = []fault{}
