"""Seven dimensions of VBench on maintained libraries, one file each, equal to the package's.

Every dimension turns a video into `Parts`; a dimension's score is `aggregate` of them.
"""
