"Every recipe, reading and study gives at smoke size what it gave when smoke_values.csv was recorded."
import pytest
from smoke_values import CASES, departures, read, recorded_on, rows_of, same_machine

RECORDED_ON,RECORDED = read()

FEW = list(CASES)[::10]  # of each recipe, both readings

def test_every_case_is_recorded(): assert set(RECORDED)==set(CASES)

@pytest.mark.parametrize('case', [pytest.param(o, marks=[] if o in FEW else pytest.mark.slow) for o in CASES])
def test_values_are_those_recorded(case):
    found = departures(RECORDED[case], rows_of(case), exact=same_machine(recorded_on(RECORDED_ON, case)))
    assert not found, '\n'.join(found)
