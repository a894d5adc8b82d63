from typing import Any

from schemas.event import Event

class Ordinary:
    has_more: bool
    groups: bytes | None
    speaks: bool
    has_ip: bool
    def __init__(self, teams: dict[str, int], receipt: int) -> None: ...
    def event(
        self, text: bytes, token: Any, arrival: int, sent_at: int | None, historical: bool, offset: int, index: int
    ) -> Event | None: ...
