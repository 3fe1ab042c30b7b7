#!/usr/bin/env python3
"""Counts the steps a build executed, from its progress messages (buildctl build --trace FILE or --progress=rawjson).

A step is a RUN, COPY, ADD or WORKDIR instruction; it was executed when it was started and not found in a cache.
"""
import json
import re
import sys

INSTRUCTION = re.compile(r"^\[[^]]*\] (RUN|COPY|ADD|WORKDIR)\b")


def executed_steps(lines):
    """Returns the names of the executed steps in the order in which they appeared."""
    names, started, cached = {}, set(), set()
    for line in lines:
        for vertex in json.loads(line).get("vertexes") or []:
            digest = vertex["digest"]
            names[digest] = vertex.get("name", "")
            if vertex.get("started"):
                started.add(digest)
            if vertex.get("cached"):
                cached.add(digest)
    return [name for digest, name in names.items()
            if digest in started and digest not in cached and INSTRUCTION.match(name)]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as trace:
        steps = executed_steps(line for line in trace if line.strip())
    print(len(steps))
    for step in steps:
        print("  " + step, file=sys.stderr)
