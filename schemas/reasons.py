"""Why an event was rejected or limited, and the warnings that customers see. Names are PostHog's where it has one."""

from enum import Enum


class Reason(Enum):
    """Why a message or an event was rejected (`dead_letters.reason`, `outcomes.reason`)."""

    MALFORMED_BODY = "malformed_body"  # not JSON, not UTF-8, not an event, a truncated or broken gzip
    BODY_TOO_LARGE = "body_too_large"  # a request body that is, or inflates to, more than MAX_BODY_BYTES
    MESSAGE_SIZE_TOO_LARGE = "message_size_too_large"
    MISSING_TOKEN = "missing_token"
    INVALID_TOKEN = "invalid_token"
    UNKNOWN_TOKEN = "unknown_token"
    MISSING_EVENT_NAME = "missing_event_name"
    MISSING_DISTINCT_ID = "missing_distinct_id"
    DISTINCT_ID_TOO_LARGE = "distinct_id_too_large"
    INVALID_EVENT_UUID = "invalid_event_uuid"
    MALFORMED_EVENT_PROPERTIES = "malformed_event_properties"
    SCHEMA_VALIDATION_FAILED = "schema_validation_failed"  # a field has a type that cannot be used
    INVALID_EVENT_WHEN_PROCESS_PERSON_PROFILE_IS_FALSE = (
        "invalid_event_when_process_person_profile_is_false"  # a merge, which such an event cannot mean
    )
    UNREADABLE_FILE = "unreadable_file"  # the rest of a source file that cannot be decoded


class Limit(Enum):
    """Why a good event was limited (`outcomes.reason`)."""

    EVENTS_PER_HOUR = "events_per_hour"
    DROP_TOKENS = "drop_tokens"
    DROP_DISTINCT_IDS = "drop_distinct_ids"
    DROPPED_DAY = "dropped_day"  # it arrived on a day that `sluice retain` has dropped


class WarningType(Enum):
    """What a customer is told (`ingestion_warnings.type`), besides the Reason of each of their rejected events."""

    EVENT_NAME_TOO_LONG = "event_name_too_long"
    DISTINCT_ID_TRUNCATED = "distinct_id_truncated"
    INVALID_EVENT_TIMESTAMP = "invalid_event_timestamp"  # could not be parsed: the arrival time is used
    IGNORED_INVALID_TIMESTAMP = "ignored_invalid_timestamp"  # out of range: the arrival time is used
    IGNORED_ARRIVAL = "ignored_arrival"  # ours: the edge's `now` is more than a week from the broker's time, which is used
    INVALID_PROCESS_PERSON_PROFILE = "invalid_process_person_profile"
    MALFORMED_EVENT_PROPERTIES = "malformed_event_properties"  # `$set` and the like have the wrong type
    INVALID_ANON_DISTINCT_ID = "invalid_anon_distinct_id"
    INVALID_ALIAS = "invalid_alias"
    CANNOT_MERGE_WITH_ILLEGAL_DISTINCT_ID = "cannot_merge_with_illegal_distinct_id"
    CANNOT_MERGE_ALREADY_IDENTIFIED = "cannot_merge_already_identified"
    PERSON_PROPERTIES_SIZE_VIOLATION = "person_properties_size_violation"
    GROUP_KEY_TOO_LONG = "group_key_too_long"
    CLIENT_INGESTION_WARNING = "client_ingestion_warning"
    QUOTA_EXCEEDED = "quota_exceeded"  # ours: events over events_per_hour were limited
