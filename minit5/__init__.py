from minit5.model import T5, T5Config

__all__ = ["T5", "T5Config"]
