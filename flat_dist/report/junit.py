"""Checks as JUnit XML, which CI systems read: one test case for each threshold and checkpoint."""

from collections.abc import Sequence
from xml.etree import ElementTree

from flat_dist.evaluation.thresholds import Check


def junit(checks: Sequence[Check]) -> bytes:
    """A JUnit XML file of checks."""
    counts = {"tests": str(len(checks)), "failures": str(sum(not one.passed for one in checks)), "errors": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "flat-dist evaluate", **counts})
    for one in checks:
        case = ElementTree.SubElement(suite, "testcase", {"classname": one.model, "name": str(one.threshold)})
        if one.passed:
            ElementTree.SubElement(case, "system-out").text = one.sentence
        else:
            ElementTree.SubElement(case, "failure", {"message": one.sentence}).text = one.sentence
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n"
