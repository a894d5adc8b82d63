from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa

class Columns:
    def __init__(
        self, record: type[msgspec.Struct], schema: pa.Schema, fields: Mapping[str, str], spread: Mapping[str, Sequence[str]]
    ) -> None: ...
    def arrays(self, records: Sequence[msgspec.Struct]) -> dict[str, pa.Array] | None: ...
