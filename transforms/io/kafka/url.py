"""Kafka URLs come in, typed addresses go out. No message ever repeats a part of the URL that may hold a password.

kafka://host:port,host:port/topic?group=GROUP&start=earliest|latest
kafka://user:password@host:port/topic?group=GROUP&tls=true&sasl=SCRAM-SHA-512&ca=FILE&certificate=FILE&key=FILE
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from schemas.errors import ConfigError

FORM = "kafka://host:port/topic?group=GROUP"
PORT = 9092
_SWITCH = {"true": True, "false": False}
_STARTS = ("earliest", "latest")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_OPTIONS = ("group", "start", "tls", "sasl", "ca", "certificate", "key")


@dataclass(frozen=True)
class KafkaAt:
    """A topic, and how its brokers are reached.

    Args:
        servers: `host:port,host:port`.
        group: the consumer group under which offsets are committed; empty for a producer.
        start: where a group without offsets begins: `earliest` or `latest`.
        sasl: a mechanism, or empty.
        ca, certificate, key: PEM files.
    """

    servers: str
    topic: str
    group: str = ""
    start: str = "earliest"
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    sasl: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def where(self) -> str:
        """Return the URL without user and password."""
        return f"kafka://{self.servers}/{self.topic}" + (f"?group={self.group}" if self.group else "")

    def settings(self) -> dict[str, str]:
        """Return librdkafka's settings for the connection."""
        protocol = ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")
        chosen = {
            "bootstrap.servers": self.servers,
            "security.protocol": protocol,
            "sasl.mechanism": self.sasl,
            "sasl.username": self.user,
            "sasl.password": self.password,
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key,
        }
        return {name: value for name, value in chosen.items() if value}


def parse(url: str) -> KafkaAt:
    """Return the address that a URL names.

    Raises:
        ConfigError: it is not one.
    """
    parts = urlsplit(url)
    credentials, _, servers = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    topic = parts.path.strip("/")
    if parts.scheme != "kafka" or not servers or not topic or "/" in topic:
        raise ConfigError(f"{parts.scheme}://...{parts.path} is not a topic of Kafka", f"write it as {FORM}")
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigError(f"a Kafka URL has no option {name}", f"it has {', '.join(_OPTIONS)}")
        if name == "start" and value not in _STARTS:
            raise ConfigError(f"start={value}", f"a group without offsets begins at {' or '.join(_STARTS)}")
        if name == "tls" and value not in _SWITCH:
            raise ConfigError(f"tls={value}", "it is true or false")
        if name == "sasl" and value not in _MECHANISMS:
            raise ConfigError(f"sasl={value}", f"it is one of {', '.join(_MECHANISMS)}")
    if bool(options.get("sasl")) != bool(user):
        raise ConfigError("sasl and a user go together", "write kafka://user:password@host:port/topic?sasl=PLAIN")
    tls = _SWITCH[options.pop("tls", "false")]
    hosts = ",".join(host if _has_port(host) else f"{host}:{PORT}" for host in servers.split(","))
    return KafkaAt(hosts, unquote(topic), user=unquote(user), password=unquote(password), tls=tls, **options)


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit()
