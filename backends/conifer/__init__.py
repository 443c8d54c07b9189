"""conifer's JSON, which conifer itself and CMSSW's `conifer.h` read."""
