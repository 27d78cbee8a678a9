"What tests share."
import pytest

@pytest.fixture
def no_pictures(monkeypatch):
    "Figures are made and not drawn: what is drawn is looked at elsewhere."
    from torture.child import not_drawn
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', not_drawn)
