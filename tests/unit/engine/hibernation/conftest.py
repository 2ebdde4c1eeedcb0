from tests.unit.engine.conftest import backend, clock

__all__ = ["backend", "clock"]
