"""jsonschema, which reads notebooks, checks IRIs with a grammar that takes each process two seconds to build.

There are none in ours. It does without where that cannot be imported, which this sees to: the folder is on the path of
the tests and of the processes that they start.
"""

raise ImportError("not needed by these tests")
